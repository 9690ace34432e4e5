"""``card.md``: what a person should know of a model before using it."""

from pathlib import Path

from geoseg.evaluation.benchmark_images import Part
from geoseg.evaluation.benchmark_run import Task, score_benchmark
from geoseg.models.int8 import read_int8
from geoseg.models.zoo import Model
from geoseg.training.data import Chips, Images
from geoseg.training.recipe import TrainRecipe
from geoseg.training.rounded import Cost, cost_of_int8
from geoseg.training.seen import models_of

NAME = "card.md"


def write_card_text(
    model: Model, recipe: TrainRecipe, folder: Path, *, learned: Images, held: Images
) -> None:
    """Score the model of a folder on the images that were held back, and write what it is."""
    data, card = recipe.data, model.card
    where, split = data.val_split, data.val_split
    if data.val_share is not None:
        where, split = f"{data.val_share:.0%} of the places of {data.train_split}", data.train_split
    elif data.fold is not None:
        where, split = (
            f"share {data.fold} of {data.folds} of the places of {data.train_split}",
            data.train_split,
        )
    elif data.folds is not None:
        where, split = f"each by the one network that has not, of {data.folds} shares", data.train_split
    part = Part(data.benchmark, Path(data.root), split)
    scores = score_benchmark(Task(part, str(folder)), samples=held.samples).scores
    n_own = len(learned.samples) - learned.n_beside
    n_images, n_places = n_own, len(set(learned.places[:n_own]))
    n_weights = sum(p.numel() for p in model.module.parameters())
    lines = [
        f"# {card.title}",
        "",
        *([card.description, ""] if card.description else []),
        f"- **Takes** {', '.join(card.bands)} as reflectance at {card.gsd_m:g} m "
        f"({card.gsd_range_m[0]:g} to {card.gsd_range_m[1]:g} m).",
        f"- **Gives** {', '.join(c.name for c in card.legend.classes)}.",
        f"- **Network** {card.family}, {n_weights:,} weights; licence {card.license}.",
        f"- **Learned from** {n_images:,} images of {n_places:,} places (split {data.train_split}).",
        *_of_others(recipe, learned.n_beside),
        *_of_models(recipe),
        "",
        f"## Scores on {len(scores.places):,} places that it has not learned from ({where})",
        "",
        "| score | value | 95 % interval, by places |",
        "|---|---|---|",
    ]
    for name in ("pixel_accuracy", "miou", "mean_accuracy", "kappa"):
        interval = scores.intervals.get(name)
        between = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "too few places"
        value = scores.overall[name]
        lines.append(f"| {name.replace('_', ' ')} | {'–' if value is None else f'{value:.3f}'} | {between} |")
    lines += ["", "| class | IoU | precision | recall | pixels |", "|---|---|---|---|---|"]
    for c in scores.classes:
        shares = (f"{v:.3f}" if v is not None else "–" for v in (c.iou, c.precision, c.recall))
        lines.append(f"| {c.class_name} | {' | '.join(shares)} | {c.support:,} |")
    int8 = read_int8(folder, weights_sha256=card.sha256)
    if int8 is not None:
        lines += _int8_lines(cost_of_int8(model, int8, Chips(held, card)))
        if data.folds is not None and data.fold is None:
            lines.append(
                "All networks answered here, and most have learned from these places: see the difference."
            )
    lines += [
        "",
        "These images chose the epoch that was kept, so the scores are a little too good.",
        "They hold for places like those; nothing is known of other sensors, seasons and pixel sizes.",
    ]
    (folder / NAME).write_text("\n".join(lines) + "\n", "utf-8")


def _of_others(recipe: TrainRecipe, n: int) -> list[str]:
    if recipe.beside is None:
        return []
    return [
        f"- **And from** {n:,} images of {recipe.beside.benchmark}, {recipe.beside.share:.0%} of what it saw."
    ]


def _of_models(recipe: TrainRecipe) -> list[str]:
    did = {"start.model": "begun with", "distill.teachers": "taught by", "pseudo.model": "labels by"}
    said = [f"{did[key]} {name}" for key, name in models_of(recipe)]
    return [f"- **Other models** {'; '.join(said)}."] if said else []


def _int8_lines(cost: Cost) -> list[str]:
    rows = [
        f"| {name} | {before:.3f} | {after:.3f} |"
        for name, before, after in (
            ("pixel accuracy", cost.accuracy, cost.accuracy_int8),
            ("miou", cost.miou, cost.miou_int8),
        )
    ]
    return [
        "",
        "## What int8 costs on them",
        "",
        "| score | float | int8 |",
        "|---|---|---|",
        *rows,
        "",
        f"{cost.same:.2%} of the pixels have the same class in both.",
    ]
