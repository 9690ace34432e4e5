"""How much faster two workers of one thread are than one: the same job, in alternation.

Each worker has one core (taskset): what reads its pixels is threads too, which would use the other's core.

python bench/scaling.py --size 4096 --rounds 2
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from geoseg.bench.networks import model_for
from geoseg.bench.scenes import write_scene
from geoseg.models.zoo import card_of

MODEL = "unet-resnet34"
BLOCK_PX = 512
WARM_UP = 4
"""Blocks that are not counted: workers import and load the network in them."""


def start(stack: ExitStack, folder: Path, *args: str, core: int | None = None) -> None:
    """A process of Dask's that ends with the stack, on one core or all."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    log = stack.enter_context((folder / f"{len(list(folder.iterdir()))}.log").open("wb"))
    command = [] if core is None else ["taskset", "--cpu-list", str(core)]
    command += [sys.executable, "-m", "dask", *args]
    process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    stack.callback(process.wait)
    stack.callback(process.terminate)


def blocks_per_s(image: Path, model: str, n_workers: int) -> float:
    """Of one run, after its first blocks."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        file = folder / "scheduler.json"
        start(stack, folder, "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
        while not file.exists():
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        cores = sorted(os.sched_getaffinity(0))
        for n in range(n_workers):
            options = ("--nthreads", "1", "--no-dashboard", "--local-directory", str(folder / f"worker{n}"))
            start(stack, folder, "worker", address, *options, core=cores[n])
        out = folder / "map"
        options = ["--image", str(image), "--model", model, "--scheduler", address, "--threads", "1"]
        options += ["--block-size", str(BLOCK_PX), "--backend", "torch-eager", "--polygons", "none"]
        subprocess.run(
            [sys.executable, "-m", "geoseg", "predict", "-q", *options, "--out", str(out)], check=True
        )
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        ends = [line["seconds"] for line in lines if line["event"] == "block" and line["n_made"]]
        return (len(ends) - WARM_UP) / (ends[-1] - ends[WARM_UP - 1])


def main() -> None:
    """Print blocks a second of each run, and the ratio of the means."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=2048, help="side of the scene, pixels")
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    found: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        model = model_for(MODEL, Path(folder) / "model")
        scene = write_scene(Path(folder) / "scene.tif", size=asked.size, bands=card_of(model).bands)
        for number in range(asked.rounds):
            for n_workers in (1, 2) if number % 2 == 0 else (2, 1):
                found[n_workers].append(blocks_per_s(scene, model, n_workers))
                print(f"{n_workers} workers: {found[n_workers][-1]:.4f} blocks a second", flush=True)
    print(f"2 workers are {sum(found[2]) / sum(found[1]):.2f} times as fast as 1")


if __name__ == "__main__":
    main()
