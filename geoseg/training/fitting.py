"""The whole path of a training: a recipe becomes a model folder."""

import json
import logging
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch.utils.data import DataLoader

from geoseg.errors import TrainingError
from geoseg.evaluation.labelled import benchmark_of
from geoseg.models.card import ModelCard
from geoseg.models.ensemble import ensemble_of, joined_card
from geoseg.models.folders import make_folder, refuse_existing
from geoseg.models.folds import Folds, write_folds
from geoseg.models.int8 import Int8, int8_of, joined_int8, read_int8, write_int8
from geoseg.models.zoo import Model, load_model, prepare_model, save_model
from geoseg.training.building import build_segmenter, n_per_epoch, refuse_uneven, refuse_untrainable
from geoseg.training.callbacks import Epoch
from geoseg.training.curves import write_curves
from geoseg.training.data import (
    Chips,
    EpochSampler,
    Images,
    Statistics,
    read_splits,
    statistics,
)
from geoseg.training.material import card_for, images_of, norms_of_folds, weights_of
from geoseg.training.module import Segmenter
from geoseg.training.recipe import RECIPE, TrainRecipe, differences
from geoseg.training.report import write_card_text
from geoseg.training.seen import refuse_seen
from geoseg.training.start import settle
from geoseg.training.trainer import BEST, LAST, METRICS, make_trainer

logger = logging.getLogger(__name__)


def train(
    recipe: TrainRecipe, *, resume: bool = False, on_epoch: Callable[[Epoch], None] = lambda epoch: None
) -> Path:
    """Fit the model that ``recipe`` asks for; returns its folder, which appears when it is whole.

    Beside it lies ``<out>.run`` while the training goes on, with a checkpoint after each epoch: with
    ``resume`` an interrupted training goes on from there, to the same weights on the CPU as without a break.

    Raises:
        TrainingError: the data cannot be learned from; a model that helps has seen what is validated; or an
            interrupted training lies there.
        EvaluationError: the data set is incomplete.
        ModelError: the network cannot be built, or the folder exists.
    """
    refuse_seen(recipe)
    if recipe.members:
        return _train_members(recipe, on_epoch, resume=resume)
    return _train_one(recipe, on_epoch, resume=resume)


def _train_one(
    recipe: TrainRecipe,
    on_epoch: Callable[[Epoch], None],
    *,
    resume: bool,
    norms: Statistics | None = None,
) -> Path:
    """One network; ``norms`` of all folds, where they are known already."""
    out = _new_folder(recipe)
    runs = _run_folder(out, recipe, resume=resume)
    train_images, val_images = images_of(recipe)
    card = card_for(recipe, train_images.benchmark)
    chips = Chips(train_images, card, crop=recipe.augment.crop)
    refuse_uneven(chips.shapes(), recipe)
    weights = weights_of(train_images, chips, recipe)
    found = statistics(chips, weights)
    if recipe.data.folds is not None:  # networks of one model are normalised alike
        found = replace(norms or norms_of_folds(recipe), class_shares=found.class_shares)
    card = card.model_copy(update={"mean": found.mean, "std": found.std, "value_range": found.value_range})
    sampler = EpochSampler(weights, n_per_epoch(recipe, len(chips)), seed=recipe.fit.seed)
    loader = DataLoader(
        chips, recipe.fit.batch_size, sampler=sampler, drop_last=True, generator=torch.Generator()
    )
    segmenter = build_segmenter(recipe, card, found, n_batches=len(loader))
    trainer = make_trainer(recipe, runs, on_epoch, n_steps=-(-len(loader) // recipe.fit.accumulate))
    last = runs / LAST
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        trainer.fit(
            segmenter,
            loader,
            DataLoader(Chips(val_images, card), 1),
            ckpt_path=str(last) if resume and last.exists() else None,
            weights_only=True,
        )
    if trainer.interrupted:
        raise KeyboardInterrupt
    model, int8 = _best_model(segmenter, card, runs / BEST)
    _finish(model, recipe, runs, out, int8=int8, learned=train_images, held=val_images)
    return out


def _refuse_unjoinable(recipe: TrainRecipe) -> None:
    """Members that could not be trained, or not be one model, are refused before the first is trained."""
    benchmark = benchmark_of(recipe.data.benchmark)
    cards = [card_for(member, benchmark) for member in recipe.members]
    joined_card(cards, name=recipe.name)
    if len({member.model_dump_json(exclude={"name"}) for member in recipe.members}) < len(cards):
        raise TrainingError("Two members are the same, to the seed. Give one of them fit = { seed = 1 }.")
    for member, card in zip(recipe.members, cards, strict=True):
        refuse_untrainable(member, card, images_of(member)[0])
    whole = [member for member in recipe.members if member.augment.crop is None]
    shapes = {s.read_image().shape[1:] for s in images_of(recipe)[0].samples if whole}
    for member in whole:
        refuse_uneven(shapes, member)


def _train_members(recipe: TrainRecipe, on_epoch: Callable[[Epoch], None], *, resume: bool) -> Path:
    """Each in a folder of its own, where an interrupted training finds it; then all in one."""
    out = _new_folder(recipe)
    _refuse_unjoinable(recipe)
    runs = _run_folder(out, recipe, resume=resume)
    norms = norms_of_folds(recipe) if recipe.data.folds is not None else None
    folders = []
    for member in recipe.members:
        folder = runs / member.name
        if not folder.exists():
            placed = member.model_copy(update={"out": str(folder)})
            is_begun = folder.with_name(f"{folder.name}.run").exists()
            _train_one(placed, on_epoch, resume=is_begun, norms=norms)
        folders.append(folder)
    models = [load_model(str(folder)) for folder in folders]
    joined = ensemble_of(models, name=recipe.name)
    ranges = [read_int8(f, weights_sha256=m.card.sha256) for f, m in zip(folders, models, strict=True)]
    int8 = joined_int8([found for found in ranges if found is not None]) if all(ranges) else None
    card = joined.card.model_copy(update={"title": recipe.title, "description": recipe.description})
    metrics = pd.concat([pd.read_csv(f / METRICS).assign(member=f.name) for f in folders])
    metrics.to_csv(runs / METRICS, index=False)
    learned, held = images_of(recipe)
    folds = _folds(recipe) if recipe.data.folds else None
    _finish(replace(joined, card=card), recipe, runs, out, int8=int8, learned=learned, held=held, folds=folds)
    return out


def _folds(recipe: TrainRecipe) -> Folds:
    """Which network has not learned from which place; of several the first."""
    member: dict[str, int] = {}
    for number, own in enumerate(recipe.members):
        for place in set(read_splits(own.data)[1].places):
            member.setdefault(place, number)
    return Folds(
        weights_sha256=None,
        benchmark=benchmark_of(recipe.data.benchmark).name,
        member=dict(sorted(member.items())),
    )


def _new_folder(recipe: TrainRecipe) -> Path:
    out = Path(recipe.out or Path("geoseg-out") / recipe.name)
    refuse_existing(out)
    return out


def _run_folder(out: Path, recipe: TrainRecipe, *, resume: bool) -> Path:
    folder = out.with_name(f"{out.name}.run")
    there = folder / RECIPE
    if there.exists():
        if not resume:
            raise TrainingError(
                f"{folder} holds an interrupted training. Give --resume to go on, or remove the folder."
            )
        if keys := differences(there, recipe):
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise TrainingError(
                f"{folder} holds a training by another recipe ({there}): they differ in "
                f"{', '.join(keys[:3])}{more}. Remove the folder, or give these their values back."
            )
    folder.mkdir(parents=True, exist_ok=True)
    there.write_text(json.dumps(recipe.model_dump(mode="json"), indent=2) + "\n", "utf-8")
    return folder


def _best_model(segmenter: Segmenter, card: ModelCard, checkpoint: Path) -> tuple[Model, Int8 | None]:
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    segmenter.cpu()
    for name, module in (("network.", segmenter.network), ("rounding.", segmenter.rounding)):
        if module is not None:
            module.load_state_dict({k.removeprefix(name): v for k, v in state.items() if k.startswith(name)})
    if segmenter.rounding is not None:
        segmenter.rounding.release()
    model = prepare_model(settle(segmenter.network), card)
    return model, int8_of(segmenter.rounding) if segmenter.rounding is not None else None


def _finish(
    model: Model,
    recipe: TrainRecipe,
    runs: Path,
    out: Path,
    *,
    int8: Int8 | None,
    learned: Images,
    held: Images,
    folds: Folds | None = None,
) -> None:
    def fill(folder: Path) -> None:
        card = save_model(model, folder)
        if folds is not None:
            write_folds(folds, folder, weights_sha256=card.sha256)
        if int8 is not None:
            write_int8(int8.model_copy(update={"weights_sha256": card.sha256}), folder)
        shutil.copy(runs / RECIPE, folder / RECIPE)
        shutil.copy(runs / METRICS, folder / METRICS)
        write_curves(folder / METRICS, folder / "curves.png")
        write_card_text(load_model(str(folder)), recipe, folder, learned=learned, held=held)

    make_folder(out, fill)
    shutil.rmtree(runs)
