"""Scores of a network of the default model over the number of places it learns from: see docs/models.md.

    python pipelines/curve_landcover_30m.py FOLDER OUT

FOLDER is the set of chips that pipelines/data/landcover-30m.toml describes; OUT a new folder for the models.
Each is trained on some places of train, without drawn scenes beside, and scored on val, whose places also
choose its epoch.
"""

import argparse
from pathlib import Path

from geoseg.evaluation.benchmark_images import Part
from geoseg.evaluation.benchmark_run import Task, score_benchmark
from geoseg.training.fitting import train
from geoseg.training.recipe import TrainRecipe

PLACES = (4, 8, 16, 32)
SEEDS = (0,)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    recipe = TrainRecipe.read("train-landcover-30m").members[0].model_dump(exclude_unset=True)
    del recipe["beside"]
    data = {k: v for k, v in recipe["data"].items() if k not in ("folds", "fold", "train_split")}
    print("| places | seed | accuracy | mean IoU |\n|---|---|---|---|")
    for n in PLACES:
        for seed in SEEDS:
            own = {
                "name": f"places-{n}-{seed}",
                "out": str(given.out / f"places-{n}-{seed}"),
                "data": data | {"root": str(given.root), "max_places": n},
                "fit": recipe["fit"] | {"seed": seed, "epochs": 3},
            }
            folder = train(TrainRecipe(**recipe | own))
            task = Task(Part(data["benchmark"], given.root, "val"), str(folder))
            overall = score_benchmark(task).scores.overall
            print(f"| {n} | {seed} | {overall['pixel_accuracy']:.3f} | {overall['miou']:.3f} |", flush=True)


if __name__ == "__main__":
    main()
