"""``card.md``: what a person should know of a model before using it."""

from pathlib import Path

from geoseg.evaluation.benchmark_images import Part
from geoseg.evaluation.benchmark_run import Task, score_benchmark
from geoseg.evaluation.intervals import Range
from geoseg.evaluation.labelled import benchmark_of
from geoseg.evaluation.scores import Scores
from geoseg.models.int8 import read_int8
from geoseg.models.zoo import Model
from geoseg.training.data import Chips, Images
from geoseg.training.recipe import TrainRecipe
from geoseg.training.rounded import Cost, cost_of_int8
from geoseg.training.seen import models_of

NAME = "card.md"
WEAK_IOU = 0.3
"""Classes below are named among the limits."""


def write_card_text(
    model: Model, recipe: TrainRecipe, folder: Path, *, learned: Images, held: Images
) -> None:
    """Score the model of a folder on the images that were held back, and write what it is."""
    where, split = _held_back(recipe)
    part = Part(recipe.data.benchmark, Path(recipe.data.root), split)
    scores = score_benchmark(Task(part, str(folder)), samples=held.samples).scores
    int8 = read_int8(folder, weights_sha256=model.card.sha256)
    lines = [
        *_head(model, recipe, learned),
        "",
        f"## Scores on {len(scores.places):,} places that it has not learned from ({where})",
        "",
        *_score_lines(scores),
        *(_int8_lines(cost_of_int8(model, int8, Chips(held, model.card)), recipe) if int8 else []),
        "",
        "## Limits",
        "",
        *_limits(model, recipe, scores),
        "",
        "## Place by place",
        "",
        "| place | pixel accuracy | miou | pixels |",
        "|---|---|---|---|",
        *(
            f"| {p.place} | {_number(p.pixel_accuracy)} | {_number(p.miou)} | {p.compared:,} |"
            for p in scores.places
        ),
    ]
    (folder / NAME).write_text("\n".join(lines) + "\n", "utf-8")


def _held_back(recipe: TrainRecipe) -> tuple[str, str]:
    """Which places the scores are of, in words, and the split that holds them."""
    data = recipe.data
    if data.val_share is not None:
        return f"{data.val_share:.0%} of the places of {data.train_split}", data.train_split
    if data.fold is not None:
        return f"share {data.fold} of {data.folds} of the places of {data.train_split}", data.train_split
    if data.folds is not None:
        return f"each by the one network that has not, of {data.folds} shares", data.train_split
    return data.val_split, data.val_split


def _head(model: Model, recipe: TrainRecipe, learned: Images) -> list[str]:
    card, data = model.card, recipe.data
    benchmark = benchmark_of(data.benchmark)
    n_images = len(learned.samples) - learned.n_beside
    n_places = len(set(learned.places[:n_images]))
    n_weights = sum(p.numel() for p in model.module.parameters())
    return [
        f"# {card.title}",
        "",
        *([card.description, ""] if card.description else []),
        f"- **Takes** {', '.join(card.bands)} as reflectance at {card.gsd_m:g} m "
        f"({card.gsd_range_m[0]:g} to {card.gsd_range_m[1]:g} m).",
        f"- **Gives** {', '.join(c.name for c in card.legend.classes)}.",
        f"- **Network** {card.family}, {n_weights:,} weights; licence {card.license}.",
        f"- **Learned from** {n_images:,} images of {n_places:,} places (split {data.train_split}).",
        f"- **Data** {benchmark.title}; licence: {benchmark.license}; from {benchmark.home}.",
        *_of_others(recipe, learned.n_beside),
        *_of_models(recipe),
    ]


def _score_lines(scores: Scores) -> list[str]:
    lines = ["| score | value | 95 % interval, by places |", "|---|---|---|"]
    for name in ("pixel_accuracy", "miou", "mean_accuracy", "kappa"):
        between = _between(scores.intervals.get(name))
        lines.append(f"| {name.replace('_', ' ')} | {_number(scores.overall[name])} | {between} |")
    lines += [
        "",
        "| class | IoU | 95 % interval | precision | recall | pixels |",
        "|---|---|---|---|---|---|",
    ]
    for c in scores.classes:
        cells = (_number(c.iou), _between(c.iou_interval), _number(c.precision), _number(c.recall))
        lines.append(f"| {c.class_name} | {' | '.join(cells)} | {c.support:,} |")
    return lines


def _limits(model: Model, recipe: TrainRecipe, scores: Scores) -> list[str]:
    weak = [f"{c.class_name} ({c.iou:.2f})" for c in scores.classes if c.iou is not None and c.iou < WEAK_IOU]
    absent = [c.class_name for c in scores.classes if not c.support]
    low, high = model.card.gsd_range_m
    return [
        "- The places above chose the epoch that was kept, so the scores are a little too good.",
        f"- They hold for places like those at {model.card.gsd_m:g} m. Other sensors, seasons, pixel sizes "
        f"({low:g} to {high:g} m are taken) were not scored.",
        *([f"- Not to be relied on, by their IoU: {', '.join(weak)}."] if weak else []),
        *([f"- Nothing is known of {', '.join(absent)}: no pixel of them was held back."] if absent else []),
        *(
            ["- The scores are of single networks; all together have seen every place."]
            if recipe.data.folds is not None and recipe.data.fold is None
            else []
        ),
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _between(interval: Range | None) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "too few places"


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


def _int8_lines(cost: Cost, recipe: TrainRecipe) -> list[str]:
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
        *(
            ["All networks answered here, and most have learned from these places: see the difference."]
            if recipe.data.folds is not None and recipe.data.fold is None
            else []
        ),
    ]
