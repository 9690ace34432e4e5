"""The whole path of a training: a recipe becomes a model folder."""

import json
import logging
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import lightning as L  # noqa: N812  (its own name for it)
import pandas as pd
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    ModelCheckpoint,
    WeightAveraging,
)
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from geoseg.errors import TrainingError
from geoseg.evaluation.benchmark import Benchmark
from geoseg.models.card import ModelCard
from geoseg.models.ensemble import ensemble_of
from geoseg.models.folders import make_folder, refuse_existing
from geoseg.models.zoo import FAMILIES, Model, load_model, prepare_model, save_model
from geoseg.training.augment import Augmentation
from geoseg.training.curves import write_curves
from geoseg.training.data import Chips, EpochSampler, Statistics, image_weights, read_splits, statistics
from geoseg.training.distillation import teacher_of
from geoseg.training.losses import DeepSupervision, build_loss
from geoseg.training.module import Segmenter
from geoseg.training.recipe import Fit, TrainRecipe
from geoseg.training.report import write_card_text
from geoseg.training.start import begin, settle

logger = logging.getLogger(__name__)

LAST, RECIPE, METRICS = "last.ckpt", "recipe.json", "metrics.csv"


@dataclass(frozen=True)
class Epoch:
    """What an epoch came to."""

    number: int
    """From 1."""
    n_epochs: int
    loss: float
    val_miou: float
    val_accuracy: float
    model: str
    """Of which model: members of an ensemble are trained one after the other."""


def train(
    recipe: TrainRecipe, *, resume: bool = False, on_epoch: Callable[[Epoch], None] = lambda epoch: None
) -> Path:
    """Fit the model that ``recipe`` asks for; returns its folder, which appears when it is whole.

    Beside it lies ``<out>.run`` while the training goes on, with a checkpoint after each epoch: with
    ``resume`` an interrupted training goes on from there, to the same weights on the CPU as without a break.

    Raises:
        TrainingError: the data cannot be learned from; or an interrupted training lies there.
        EvaluationError: the data set is incomplete.
        ModelError: the network cannot be built, or the folder exists.
    """
    out = Path(recipe.out or Path("geoseg-out") / recipe.name)
    refuse_existing(out)
    runs = _run_folder(out, recipe, resume=resume)
    if recipe.members:
        return _train_members(recipe, runs, out, on_epoch)
    train_images, val_images = read_splits(recipe.data)
    card = _card(recipe, train_images.benchmark)
    chips = Chips(train_images, card, crop=recipe.augment.crop)
    weights = image_weights(train_images.places, chips.class_counts(), recipe.data)
    found = statistics(chips, weights)
    card = card.model_copy(update={"mean": found.mean, "std": found.std, "value_range": found.value_range})
    n_per_epoch = (recipe.fit.steps_per_epoch or 0) * recipe.fit.batch_size or len(chips)
    sampler = EpochSampler(weights, n_per_epoch, seed=recipe.fit.seed)
    loader = DataLoader(
        chips, recipe.fit.batch_size, sampler=sampler, drop_last=True, generator=torch.Generator()
    )
    if not len(loader):
        raise TrainingError(
            f"{n_per_epoch} images make no batch of {recipe.fit.batch_size}. Give a smaller fit.batch_size."
        )
    segmenter = _segmenter(recipe, card, found, n_batches=len(loader))
    trainer, best = _trainer(recipe, runs, on_epoch)
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
    model = _best_model(segmenter, card, Path(best.best_model_path))
    _finish(model, recipe, runs, out, n_places=len(set(train_images.places)), n_images=len(chips))
    return out


def _train_members(recipe: TrainRecipe, runs: Path, out: Path, on_epoch: Callable[[Epoch], None]) -> Path:
    """Each in a folder of its own, where an interrupted training finds it; then all in one."""
    folders = []
    for member in recipe.members:
        folder = runs / member.name
        if not folder.exists():
            placed = member.model_copy(update={"out": str(folder)})
            train(placed, resume=folder.with_name(f"{folder.name}.run").exists(), on_epoch=on_epoch)
        folders.append(folder)
    joined = ensemble_of([load_model(str(folder)) for folder in folders], name=recipe.name)
    card = joined.card.model_copy(update={"title": recipe.title, "description": recipe.description})
    metrics = pd.concat([pd.read_csv(f / METRICS).assign(member=f.name) for f in folders])
    metrics.to_csv(runs / METRICS, index=False)
    train_images, _ = read_splits(recipe.data)
    places, n_images = len(set(train_images.places)), len(train_images.samples)
    _finish(replace(joined, card=card), recipe, runs, out, n_places=places, n_images=n_images)
    return out


def _run_folder(out: Path, recipe: TrainRecipe, *, resume: bool) -> Path:
    folder = out.with_name(f"{out.name}.run")
    text = json.dumps(recipe.model_dump(mode="json"), indent=2) + "\n"
    there = folder / RECIPE
    if there.exists():
        if not resume:
            raise TrainingError(
                f"{folder} holds an interrupted training. Give --resume to go on, or remove the folder."
            )
        if there.read_text("utf-8") != text:
            raise TrainingError(
                f"{folder} holds a training by another recipe ({there}). Remove the folder, or give the "
                "recipe its values back."
            )
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    there.write_text(text, "utf-8")
    return folder


def _card(recipe: TrainRecipe, benchmark: Benchmark) -> ModelCard:
    network = recipe.network
    gsd_m = network.gsd_m or benchmark.gsd_m
    if gsd_m is None:
        raise TrainingError(f"{benchmark.title} does not say its pixel size. Give network.gsd_m, metres.")
    return ModelCard(
        name=recipe.name,
        title=recipe.title,
        description=recipe.description,
        family=network.family,
        hyperparameters=network.hyperparameters,
        bands=recipe.data.bands or benchmark.bands,
        gsd_m=gsd_m,
        gsd_range_m=network.gsd_range_m or (gsd_m / 2, gsd_m * 2),
        tile_size=network.tile_size,
        tile_multiple=network.tile_multiple,
        halo=network.halo,
        legend=benchmark.legend,
        license=recipe.license,
        activation=network.activation,
    )


def _segmenter(recipe: TrainRecipe, card: ModelCard, found: Statistics, *, n_batches: int) -> Segmenter:
    torch.manual_seed(recipe.fit.seed)
    network, fresh = begin(FAMILIES[card.family](card), card, recipe.start)
    if recipe.start.model is not None and fresh:
        logger.warning("New weights, as those of %s do not fit: %s.", recipe.start.model, ", ".join(fresh))
    return Segmenter(
        card,
        network.to(memory_format=torch.channels_last),
        DeepSupervision(
            build_loss(recipe.loss, n_classes=len(card.legend.classes), class_shares=found.class_shares)
        ),
        Augmentation(recipe.augment, torch.tensor(found.mean)),
        fit=recipe.fit,
        n_steps=recipe.fit.epochs * -(-n_batches // recipe.fit.accumulate),
        teacher=(teacher_of(recipe.distill, card), recipe.distill) if recipe.distill else None,
    )


def _trainer(
    recipe: TrainRecipe, runs: Path, on_epoch: Callable[[Epoch], None]
) -> tuple[L.Trainer, ModelCheckpoint]:
    fit = recipe.fit
    best = ModelCheckpoint(
        runs, filename="best", monitor="val_miou", mode="max", save_last=True, enable_version_counter=False
    )
    # Told comes before best, whose checkpoint is to hold its rows.
    callbacks: list[Callback] = [_Told(runs / METRICS, on_epoch, recipe.name), best]
    if fit.averaging == "ema":
        callbacks.insert(0, _Exponential(fit.ema_decay))
    elif fit.averaging == "swa":
        callbacks.insert(0, _LastQuarter(fit.epochs))
    if fit.patience is not None:
        callbacks.append(EarlyStopping("val_miou", mode="max", patience=fit.patience))
    is_gpu = torch.cuda.is_available()
    trainer = L.Trainer(
        accelerator="gpu" if is_gpu else "cpu",
        devices=fit.devices if is_gpu else 1,
        max_epochs=fit.epochs,
        precision=_precision(fit),
        accumulate_grad_batches=fit.accumulate,
        gradient_clip_val=fit.clip,
        callbacks=callbacks,
        logger=TensorBoardLogger(runs, name="", version=""),
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1_000_000_000,
        use_distributed_sampler=False,
    )
    return trainer, best


def _precision(fit: Fit):  # type: ignore[no-untyped-def]
    if fit.precision != "auto":
        return fit.precision
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    flags = Path("/proc/cpuinfo")
    has_bf16 = flags.exists() and any(f in flags.read_text() for f in ("avx512_bf16", "amx_bf16"))
    return "bf16-mixed" if has_bf16 else "32-true"


def _best_model(segmenter: Segmenter, card: ModelCard, checkpoint: Path) -> Model:
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    prefix = "network."
    weights = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    segmenter.network.load_state_dict(weights)
    return prepare_model(settle(segmenter.network.cpu()), card)


def _finish(
    model: Model, recipe: TrainRecipe, runs: Path, out: Path, *, n_places: int, n_images: int
) -> None:
    def fill(folder: Path) -> None:
        save_model(model, folder)
        shutil.copy(runs / RECIPE, folder / RECIPE)
        shutil.copy(runs / METRICS, folder / METRICS)
        write_curves(folder / METRICS, folder / "curves.png")
        write_card_text(load_model(str(folder)), recipe, folder, n_places=n_places, n_images=n_images)

    make_folder(out, fill)
    shutil.rmtree(runs)


class _Exponential(WeightAveraging):
    """The exponential mean of the weights over steps; over fewer at first, when they are far from good."""

    def __init__(self, decay: float) -> None:
        def mean(average: torch.Tensor, now: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
            kept = torch.clamp((1 + n) / (10 + n), max=decay)
            return average + (1 - kept) * (now - average)

        super().__init__(avg_fn=mean)


class _LastQuarter(WeightAveraging):
    """The mean of the weights after each epoch of the last quarter."""

    def __init__(self, n_epochs: int) -> None:
        super().__init__()
        self._first = n_epochs - max(n_epochs // 4, 1)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return epoch_idx is not None and epoch_idx >= self._first


class _Told(Callback):
    """Says what each epoch came to, and keeps it in the checkpoint: a resumed training has one curve."""

    def __init__(self, path: Path, on_epoch: Callable[[Epoch], None], model: str) -> None:
        self._path, self._on_epoch, self._model = path, on_epoch, model
        self._rows: list[dict[str, float]] = []

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        at = {name: float(value) for name, value in trainer.callback_metrics.items()}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self._rows.append({"epoch": trainer.current_epoch + 1, "learning_rate": rate, **at})

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._rows[-1]["loss"] = float(trainer.callback_metrics["loss"])
        pd.DataFrame(self._rows).to_csv(self._path, index=False)
        last = self._rows[-1]
        self._on_epoch(
            Epoch(
                int(last["epoch"]),
                trainer.max_epochs or 0,
                last["loss"],
                last["val_miou"],
                last["val_accuracy"],
                self._model,
            )
        )

    def state_dict(self) -> dict[str, list[dict[str, float]]]:
        return {"rows": self._rows}

    def load_state_dict(self, state_dict: dict[str, list[dict[str, float]]]) -> None:
        self._rows = list(state_dict["rows"])
