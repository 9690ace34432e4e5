"""Manifests for Kubernetes: the job that runs at its times, and a Dask cluster beside it."""

from collections.abc import Sequence
from typing import Any

_VOLUME = "/maps"
"""Where recipes and maps lie in a container."""
_PORTS = (("tcp-comm", 8786), ("http-dashboard", 8787))
"""As the operator names and numbers them: it asks for both."""


def cron_job(name: str, *, cron: str, command: Sequence[str], image: str, grace_s: int) -> dict[str, Any]:
    """A CronJob (batch/v1), whose folder is a volume claim. While one runs no other is started."""
    pod = {
        "restartPolicy": "OnFailure",  # goes on where the one before was killed
        "terminationGracePeriodSeconds": grace_s,
        **_container(
            name, {"name": "geoseg", "image": image, "command": list(command), "envFrom": _keys(name)}
        ),
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": _metadata(name),
        "spec": {
            "schedule": cron,
            "concurrencyPolicy": "Forbid",
            "jobTemplate": {"spec": {"backoffLimit": 3, "template": {"spec": pod}}},
        },
    }


def dask_cluster(name: str, *, image: str, n_workers: int) -> dict[str, Any]:
    """A DaskCluster (kubernetes.dask.org/v1) for the operator of dask-kubernetes, with the job's volume.

    Workers have one thread, as has the network in each: the last bits of a map depend on it.
    """
    dask = _dask_name(name)
    ports = [{"name": port, "containerPort": number, "protocol": "TCP"} for port, number in _PORTS]
    alive = {"httpGet": {"port": "http-dashboard", "path": "/health"}, "periodSeconds": 15}
    scheduler = {
        "name": "scheduler",
        "image": image,
        "command": ["dask"],  # the image's own entry point is geoseg
        "args": ["scheduler", "--host", "0.0.0.0"],  # noqa: S104
        "ports": ports,
        "readinessProbe": alive,
        "livenessProbe": {**alive, "initialDelaySeconds": 30},
    }
    worker = {
        "name": "worker",
        "image": image,
        "command": ["dask"],
        "args": ["worker", "--name", "$(DASK_WORKER_NAME)", "--nthreads", "1", "--no-dashboard"],
        "env": [{"name": "OMP_NUM_THREADS", "value": "1"}],
        "envFrom": _keys(name),
    }
    service = {
        "type": "ClusterIP",
        "selector": {"dask.org/cluster-name": dask, "dask.org/component": "scheduler"},
        "ports": [
            {"name": port, "protocol": "TCP", "port": number, "targetPort": port} for port, number in _PORTS
        ],
    }
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": _metadata(dask),
        "spec": {
            "scheduler": {"spec": _container(name, scheduler), "service": service},
            "worker": {"replicas": n_workers, "spec": _container(name, worker)},
        },
    }


def scheduler_address(name: str) -> str:
    """Where the scheduler of :func:`dask_cluster` is found: the operator names its service so."""
    return f"tcp://{_dask_name(name)}-scheduler:{_PORTS[0][1]}"


def _keys(name: str) -> list[dict[str, Any]]:
    """What reads and notifications take from the environment; there need not be any."""
    return [{"secretRef": {"name": f"{name}-keys", "optional": True}}]


def _dask_name(name: str) -> str:
    return f"{name}-dask"


def _metadata(name: str) -> dict[str, Any]:
    return {"name": name, "labels": {"app.kubernetes.io/name": "geoseg"}}


def _container(name: str, container: dict[str, Any]) -> dict[str, Any]:
    """What a pod says of its only container, whose folder is the volume claim of the job."""
    mounts = [{"name": "maps", "mountPath": _VOLUME}]
    claim = {"name": "maps", "persistentVolumeClaim": {"claimName": f"{name}-maps"}}
    return {
        "containers": [{**container, "workingDir": _VOLUME, "volumeMounts": mounts}],
        "volumes": [claim],
    }
