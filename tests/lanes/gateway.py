"""A Dask Gateway on this machine: its real server and proxy, its clusters processes that it starts."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from lanes.services import free_ports, listens, made, running

SERVER = Path(os.environ.get("GEOSEG_GATEWAY_VENV", "/tmp/geoseg-gateway-venv"))
_PASSWORD = "gateway-word"
_CONF = """
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.SimpleAuthenticator"
c.SimpleAuthenticator.password = "{password}"
c.DaskGateway.address = "127.0.0.1:{api}"
c.Proxy.address = "127.0.0.1:{web}"
c.Proxy.tcp_address = "127.0.0.1:{tcp}"
c.UnsafeLocalBackend.clusters_directory = "{folder}/clusters"
c.ClusterConfig.scheduler_cmd = ["{dask}", "scheduler"]
c.ClusterConfig.worker_cmd = ["{dask}", "worker"]
c.ClusterConfig.environment = {env}
c.ClusterConfig.worker_cores = 1
"""


@dataclass(frozen=True)
class Gateway:
    """One that runs."""

    config: dict[str, object]
    """Of Dask, for those who ask it for clusters."""
    client: Path
    """Folder to import ``dask_gateway`` from."""
    pid: int

    def processes(self, kind: str) -> list[int]:
        """Those that it started as ``worker`` or ``scheduler``."""
        command = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(self.pid)]
        lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
        return [int(line.split()[0]) for line in lines if f"dask {kind}" in line]


@contextmanager
def gateway(folder: Path) -> Iterator[Gateway]:
    """Runs within the block. Its client is alone in a folder: Dask itself is this environment's."""
    program = made(SERVER / "bin" / "dask-gateway-server")
    client = SERVER / "client"
    api, web, tcp = free_ports(3)
    folder.mkdir()
    dask = Path(sys.executable).with_name("dask")
    env = json.dumps({"PYTHONPATH": str(client), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"})
    conf = folder / "conf.py"
    conf.write_text(
        _CONF.format(password=_PASSWORD, api=api, web=web, tcp=tcp, folder=folder, dask=dask, env=env)
    )
    config = {
        "gateway.address": f"http://127.0.0.1:{web}",
        "gateway.proxy-address": f"gateway://127.0.0.1:{tcp}",
        "gateway.auth.type": "basic",
        "gateway.auth.kwargs": {"username": "geoseg", "password": _PASSWORD},
    }
    command = [str(program), "-f", str(conf)]

    def answers() -> bool:
        """Its proxy knows the way to it."""
        with suppress(OSError), urlopen(f"http://127.0.0.1:{web}/api/health", timeout=5) as answer:
            return answer.status == 200 and listens(tcp)
        return False

    with running(command, log=folder / "gateway.log", ready=answers) as process:
        yield Gateway(config, client, process.pid)
