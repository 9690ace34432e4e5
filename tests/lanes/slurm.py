"""SLURM on this machine alone, without systemd: a controller and one node of two cores."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import gethostname

from lanes.services import free_ports, need, running

_HINT = "apt-get install slurm-wlm munge"
_CONF = """ClusterName=geoseg
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000
PartitionName=main Nodes={host} Default=YES OverSubscribe=FORCE:4
"""


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Runs within the block; what its commands want in their environment."""
    programs = {
        name: need(name, hint=_HINT) for name in ("munged", "slurmctld", "slurmd", "sinfo", "scancel")
    }
    controller, node = free_ports(2)
    host = gethostname().partition(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    conf = folder / "slurm.conf"
    conf.write_text(
        _CONF.format(host=host, controller=controller, node=node, folder=folder, cpus=os.cpu_count())
    )
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    env = {"SLURM_CONF": str(conf)}
    munge = [f"--{name}={folder}/munge.{end}" for name, end in _MUNGE.items()]

    def is_idle() -> bool:
        said = subprocess.run(
            [programs["sinfo"], "-h", "-o", "%T"], env={**os.environ, **env}, capture_output=True, text=True
        )
        return re.search("idle|mixed", said.stdout) is not None

    with ExitStack() as stack:

        def start(name: str, *args: str, ready=lambda: True) -> None:  # type: ignore[no-untyped-def]
            command = [programs[name], *args]
            stack.enter_context(running(command, log=folder / f"{name}.log", ready=ready, env=env))

        start("munged", "-F", "--force", *munge, ready=(folder / "munge.socket").exists)
        start("slurmctld", "-D", "-c")
        start("slurmd", "-D", ready=is_idle)
        yield env


_MUNGE = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
