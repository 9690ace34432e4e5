"""Lightning's trainer as recipes ask for it."""

import logging
from collections.abc import Callable
from pathlib import Path

import lightning as L  # noqa: N812  (its own name for it)
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from geoseg.training.callbacks import BestCheckpoint, Epoch, ExponentialMean, LastQuarterMean, Patience, Told
from geoseg.training.recipe import TrainRecipe
from geoseg.training.tables import Fit

BEST, LAST, METRICS = "best.ckpt", "last.ckpt", "metrics.csv"


def make_trainer(
    recipe: TrainRecipe, runs: Path, on_epoch: Callable[[Epoch], None], *, n_steps: int
) -> L.Trainer:
    """Lightning's trainer of a recipe, which leaves the best and the last epoch in ``runs``.

    Args:
        recipe: what is asked for.
        runs: folder for checkpoints and logs.
        on_epoch: told what each epoch came to.
        n_steps: of the optimiser in an epoch.
    """
    for noisy in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    fit = recipe.fit
    best = BestCheckpoint(runs)
    last = ModelCheckpoint(runs, filename=LAST.removesuffix(".ckpt"), enable_version_counter=False)
    # Told comes before the checkpoints, which are to hold its rows.
    callbacks: list[Callback] = [Told(runs / METRICS, on_epoch, recipe.name), best, last]
    if fit.averaging == "ema":
        callbacks.insert(0, ExponentialMean(fit.ema_decay))
    elif fit.averaging == "swa":
        callbacks.insert(0, LastQuarterMean(fit.epochs, n_steps=n_steps))
    if fit.patience is not None:
        callbacks.append(Patience("val_miou", mode="max", patience=fit.patience))
    is_gpu = torch.cuda.is_available()
    return L.Trainer(
        accelerator="gpu" if is_gpu else "cpu",
        devices=fit.devices,
        strategy="auto" if fit.devices == 1 else "ddp_fork",  # one command, and no pickles
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


def _precision(fit: Fit):  # type: ignore[no-untyped-def]
    if fit.precision != "auto":
        return fit.precision
    if fit.devices > 1 and torch.cuda.is_available():
        return "bf16-mixed"  # to ask a GPU what it can would keep this process from having copies of itself
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    flags = Path("/proc/cpuinfo")
    has_bf16 = flags.exists() and any(f in flags.read_text() for f in ("avx512_bf16", "amx_bf16"))
    return "bf16-mixed" if has_bf16 else "32-true"
