"""geoseg and its peers side by side: the same image, the same weights, the same tiles, whole processes.

    python bench/peers/run.py [--size 4096] [--repeat 3] [--peers torchgeo,geoai] [--json]

Each peer gets a virtual environment of its own (see venvs.py) and is run by a script of its own, in the way
that its documentation says; README.md says which settings were taken. Run it with geoseg's interpreter.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import rasterio
from material import ENCODER, Material, make_material
from rich import box
from rich.console import Console
from rich.table import Table
from venvs import CannotInstall, python_of

from geoseg.bench.networks import BANDS, N_STEPS
from geoseg.bench.processes import GEOSEG, Ran, python_command, watch
from geoseg.errors import OutputError

TILE, HALO = 512, 64
STRIDE = TILE - 2 * HALO
GSD_KM = 0.01
_HERE = Path(__file__).resolve().parent
_SAY = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Peer:
    """One of those that are compared with geoseg."""

    requirements: tuple[str, ...]
    """What pip installs: the peer itself, pinned, first; then what its script needs besides."""
    script: str
    batch_size: int
    """Tiles at a time; see README.md."""


PEERS = {
    "torchgeo": Peer(("torchgeo==0.8.1", "requests"), "peer_torchgeo.py", 1),
    "terratorch": Peer(("terratorch==1.2.11",), "peer_terratorch.py", 1),
    "geoai": Peer(("geoai-py==0.40.1",), "peer_geoai.py", 1),
    "rastervision": Peer(
        ("rastervision==0.31.1", "segmentation-models-pytorch==0.6.0", "safetensors==0.8.0"),
        "peer_rastervision.py",
        1,
    ),
}


@dataclass(frozen=True)
class Row:
    """One run of one of them; None where it could not be run, for the reason of ``note``."""

    name: str
    version: str
    wall_s: float | None = None
    """The whole process: Python, imports, all of it."""
    raster_s: float | None = None
    """Until the class map was written: geoseg goes on to polygons, a report and a STAC item, peers do not."""
    cpu_s: float | None = None
    peak_memory_mb: float | None = None
    km2_per_s: float | None = None
    """Ground per second of ``wall_s``."""
    agreement: float | None = None
    """Share of pixels with the class that geoseg's first map has."""
    load: float | None = None
    """Load average of the machine at the end (1 min)."""
    note: str = ""


def main() -> None:
    """Read the command line, run all, print."""
    asked = _command_line()
    names = asked.peers.split(",") if asked.peers else list(PEERS)
    folder = asked.venvs.expanduser().resolve()
    _SAY.print(f"image of {asked.size} x {asked.size} pixels and network", style="dim")
    (folder / "material").mkdir(parents=True, exist_ok=True)
    material = make_material(folder / "material", size=asked.size, n_steps=asked.steps)
    with tempfile.TemporaryDirectory(prefix="geoseg-peers-") as temporary:
        rows = list(_all_rows(names, asked, folder, material, Path(temporary)))
    if asked.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        Console().print(_table(rows, asked.size))


def _command_line() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=4096, help="side of the image, pixels")
    parser.add_argument("--repeat", type=int, default=1, help="rounds, in an order that alternates")
    parser.add_argument("--peers", help=f"which, with commas; all of {','.join(PEERS)}")
    parser.add_argument("--venvs", type=Path, default=Path("~/.cache/geoseg-peers"), help="cache folder")
    parser.add_argument("--steps", type=int, default=N_STEPS, help="of the network's training")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch")
    parser.add_argument("--batch-size", type=int, help="in place of each peer's own")
    parser.add_argument(
        "--geoseg",
        action="append",
        help="options of geoseg predict for a further row of geoseg, as '--precision int8'; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="all runs as JSON records")
    asked = parser.parse_args()
    if unknown := set((asked.peers or "").split(",")) - set(PEERS) - {""}:
        parser.error(f"no peer named {', '.join(unknown)}; there are {', '.join(PEERS)}")
    return asked


def _all_rows(
    names: list[str], asked: argparse.Namespace, folder: Path, material: Material, out: Path
) -> Iterator[Row]:
    """Round by round, in order and in reverse by turns; peers that cannot be installed once."""
    pythons: dict[str, Path] = {}
    for name in names:
        _SAY.print(f"environment of {name}", style="dim")
        try:
            pythons[name] = python_of(name, PEERS[name].requirements, folder)
        except CannotInstall as error:
            yield Row(name, _version(name), note=f"cannot be installed: {error}")
    variants = ["", *(asked.geoseg or [])]
    order = [*variants, *pythons]
    first_map: np.ndarray | None = None
    for number in range(asked.repeat):
        for name in order if number % 2 == 0 else order[:1] + order[:0:-1]:
            _SAY.print(f"{name if name in pythons else f'geoseg {name}'}, round {number + 1}", style="dim")
            if name in pythons:
                row, classes = _run_peer(name, pythons[name], asked, material, out)
            else:
                row, classes = _run_geoseg(name, asked, material, out)
            if first_map is None:
                first_map = classes
            yield _with_agreement(row, classes, first_map)


def _run_geoseg(
    options: str, asked: argparse.Namespace, material: Material, out: Path
) -> tuple[Row, np.ndarray | None]:
    folder, name = out / "geoseg", f"geoseg {options}".strip()
    command = python_command(
        GEOSEG,
        *("predict", "--image", str(material.image), "--model", str(material.model)),
        *("--tile-size", str(TILE), "--halo", str(HALO), "--out", str(folder), "--overwrite", "--quiet"),
        *options.split(),
    )
    return _measured(name, command, folder / "class.tif", asked, out)


def _run_peer(
    name: str, python: Path, asked: argparse.Namespace, material: Material, out: Path
) -> tuple[Row, np.ndarray | None]:
    target = out / f"{name}.tif"
    target.unlink(missing_ok=True)
    options = {
        "image": material.image,
        "weights": material.weights,
        "out": target,
        "encoder": ENCODER,
        "n-bands": len(BANDS),
        "n-classes": material.n_classes,
        "tile": TILE,
        "stride": STRIDE,
        "batch-size": asked.batch_size or PEERS[name].batch_size,
        "threads": asked.threads,
    }
    command = [str(python), str(_HERE / PEERS[name].script)]
    command += [part for flag, value in options.items() for part in (f"--{flag}", str(value))]
    return _measured(name, command, target, asked, out)


def _measured(
    name: str, command: list[str], target: Path, asked: argparse.Namespace, out: Path
) -> tuple[Row, np.ndarray | None]:
    started = time.time()
    os.environ["OMP_NUM_THREADS"] = str(asked.threads)
    try:
        ran = watch(command, log=out / "log.txt", what=name)
        with rasterio.open(target) as source:
            classes = source.read(1)
    except (OutputError, rasterio.RasterioIOError) as error:
        return Row(name, _version(name), note=str(error)), None
    return _row(name, ran, target.stat().st_mtime - started, classes), classes


def _row(name: str, ran: Ran, raster_s: float, classes: np.ndarray) -> Row:
    height, width = classes.shape
    return Row(
        name,
        _version(name),
        wall_s=round(ran.wall_s, 2),
        raster_s=round(min(raster_s, ran.wall_s), 2),
        cpu_s=round(ran.cpu_s, 2),
        peak_memory_mb=round(ran.peak_memory_mb),
        km2_per_s=round(height * width * GSD_KM**2 / ran.wall_s, 2),
        load=round(os.getloadavg()[0], 1),
    )


def _with_agreement(row: Row, classes: np.ndarray | None, expected: np.ndarray | None) -> Row:
    if classes is None or expected is None:
        return row
    return Row(**{**asdict(row), "agreement": round(float((classes == expected).mean()), 5)})


def _version(name: str) -> str:
    if name in PEERS:
        return PEERS[name].requirements[0].partition("==")[2]
    from importlib.metadata import version

    return version("geoseg")


def _table(rows: list[Row], size: int) -> Table:
    """The fastest run of each, and how many times as long it takes as geoseg's first row."""
    best: dict[str, Row] = {}
    for row in rows:
        known = best.get(row.name)
        if known is None or (row.wall_s or np.inf) < (known.wall_s or np.inf):
            best[row.name] = row
    ours = best.get("geoseg")
    title = f"{size} x {size} pixels, {len(BANDS)} bands, U-Net/{ENCODER}, tiles {TILE}, stride {STRIDE}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for head in ("", "version"):
        table.add_column(head)
    heads = ("wall s", "to raster s", "CPU s", "peak MB", "km²/s", "same class", "times geoseg", "load")
    for head in heads:
        table.add_column(head, justify="right")
    for row in best.values():
        if row.wall_s is None:
            table.add_row(row.name, row.version, row.note)
            continue
        ratio = f"{row.wall_s / ours.wall_s:.2f}" if ours and ours.wall_s else "-"
        agreement = "-" if row.agreement is None else f"{row.agreement:.3%}"
        numbers = (row.wall_s, row.raster_s, row.cpu_s)
        table.add_row(
            row.name,
            row.version,
            *(f"{n:.1f}" for n in numbers),
            *(f"{row.peak_memory_mb:,.0f}", f"{row.km2_per_s:.1f}", agreement, ratio, f"{row.load:.1f}"),
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
