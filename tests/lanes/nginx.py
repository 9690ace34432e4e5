"""A web server that serves one folder in every way a bad day knows."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lanes.services import free_ports, listens, need, running

HINT = "apt-get install nginx-light"
_KINDS = {
    "good": "",
    "flaky": "if ($is_unlucky) { return 503; }",
    "dropping": "if ($is_unlucky) { return 444; }",  # some connections are closed without a reply
    "limited": "limit_req zone=slow_down burst=1 nodelay; limit_req_status 429;",
    "slow": "limit_rate 20k;",
    "no_ranges": "max_ranges 0;",
    "down": "return 503;",
    "silent": "return 444;",
    "outage": "if (-f FLAG) { return 503; }",
}
_CONFIG = """
daemon off;
{user}
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  default_type application/octet-stream;
  limit_req_zone $binary_remote_addr zone=slow_down:1m rate=10r/s;
  map $request_id $is_unlucky {{ default 0; "~^[0-4]" 1; }}  # 5 of 16
{servers}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """The servers, one for each kind of trouble, all over the same folder."""

    root: Path
    """What they serve."""
    ports: dict[str, int]
    flag: Path
    """While this file exists, ``outage`` answers 503."""
    log: Path

    def url(self, kind: str, path: str = "") -> str:
        """The address of a file under ``root``."""
        return f"http://127.0.0.1:{self.ports[kind]}/{path}"

    def statuses(self, kind: str) -> dict[str, int]:
        """How often the server of that kind gave each status."""
        counts: dict[str, int] = {}
        for line in self.log.read_text().splitlines():
            port, status = line.split()[:2]
            if int(port) == self.ports[kind]:
                counts[status] = counts.get(status, 0) + 1
        return counts


@contextmanager
def nginx(root: Path, folder: Path) -> Iterator[Nginx]:
    """Serve ``root`` while the block runs; logs and such go to ``folder``."""
    program = need("nginx", hint=HINT)
    flag, log = folder / "is-down", folder / "access.log"
    ports = dict(zip(_KINDS, free_ports(len(_KINDS)), strict=True))
    servers = [
        f"  server {{ listen 127.0.0.1:{ports[kind]}; root {root}; {rules.replace('FLAG', str(flag))} }}"
        for kind, rules in _KINDS.items()
    ]
    # As root its workers would be nobody, who may not look into pytest's folders.
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    text = _CONFIG.format(user=user, folder=folder, servers="\n".join(servers))
    text = text.replace(
        f"access_log {log};", f"log_format short '$server_port $status'; access_log {log} short;"
    )
    config.write_text(text)
    subprocess.run([program, "-t", "-q", "-c", config, "-e", folder / "error.log"], check=True)
    command = [program, "-c", str(config), "-e", str(folder / "error.log")]
    with running(command, log=folder / "nginx.out", ready=lambda: all(map(listens, ports.values()))):
        yield Nginx(root, ports, flag, log)
