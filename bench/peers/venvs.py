"""A virtual environment for each peer, with its own pins, that borrows torch from this interpreter.

torch with its CUDA libraries takes 5 GB, four times over 20 GB. So the packages of torch are linked into a
folder that a ``.pth`` file puts at the end of the path of each environment: pip takes them for installed
where they satisfy the peer, and what pip installs else comes before them.
"""

import re
import subprocess
import sys
import venv
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

LENT = ("torch", "torchvision")
_OF_TORCH = re.compile(r"(torch|torchvision|triton|nvidia-.*|cuda-.*)$")
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_INSTALL_TIMEOUT_S = 1800


class CannotInstall(Exception):
    """pip could not make the environment; the message is what it said last."""


def python_of(name: str, requirements: tuple[str, ...], folder: Path) -> Path:
    """The interpreter of the environment ``name``, which is made, or brought to these requirements.

    Raises:
        CannotInstall: pip failed.
    """
    home = folder / name
    python, done = home / "bin" / "python", home / "requirements.txt"
    wanted = "\n".join([*requirements, *(f"# lent: {d.name} {d.version}" for d in _lent()), ""])
    if done.is_file() and done.read_text("utf-8") == wanted:
        return python
    if not python.exists():
        venv.create(home, with_pip=True)
    site = next((home / "lib").glob("python*/site-packages"))
    (site / "zz-lent-torch.pth").write_text(f"{lend(folder / 'lent')}\n", "utf-8")
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    log = home / "pip.log"
    with log.open("w", encoding="utf-8") as sink:
        try:
            ended = subprocess.run(command, stdout=sink, stderr=sink, timeout=_INSTALL_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise CannotInstall(f"pip took more than {_INSTALL_TIMEOUT_S} s") from None
    if ended.returncode:
        said = [line for line in log.read_text("utf-8").splitlines() if line.startswith("ERROR")]
        raise CannotInstall(said[-1] if said else f"pip ended with exit code {ended.returncode}: see {log}")
    done.write_text(wanted, "utf-8")
    return python


def lend(folder: Path) -> Path:
    """A folder of links to torch, torchvision and the libraries they come with."""
    folder.mkdir(parents=True, exist_ok=True)
    for lent in _lent():
        root = Path(str(lent.locate_file("")))
        tops = {file.parts[0] for file in lent.files or ()} - {"..", "__pycache__"}
        for top in sorted(tops):
            link = folder / top
            if link.is_symlink():
                link.unlink()
            link.symlink_to(root / top)
    return folder


def _lent() -> list[Distribution]:
    """The distributions of :data:`LENT` and, of what they require, those that are large and theirs only."""
    found: dict[str, Distribution] = {}
    todo = list(LENT)
    while todo:
        name = todo.pop()
        try:
            if name in found or not _OF_TORCH.match(name):
                continue
            found[name] = distribution(name)
        except PackageNotFoundError:  # another platform's, or an extra's
            continue
        todo += [_NAME.match(r).group().lower() for r in found[name].requires or ()]  # type: ignore[union-attr]
    return [found[name] for name in sorted(found)]


if __name__ == "__main__":  # python venvs.py FOLDER NAME REQUIREMENT...: make one environment by hand
    print(python_of(sys.argv[2], tuple(sys.argv[3:]), Path(sys.argv[1]).resolve()))
