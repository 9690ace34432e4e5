"""What happens beside the steps of a training: means of weights, and what is told."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812  (its own name for it)
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, WeightAveraging


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
    is_best: bool
    """Whether no epoch before it had as high a validation mIoU."""


class ExponentialMean(WeightAveraging):
    """The exponential mean of the weights over steps; over fewer at first, when they are far from good."""

    def __init__(self, decay: float) -> None:
        def mean(average: torch.Tensor, now: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
            kept = torch.clamp((1 + n) / (10 + n), max=decay)
            return average + (1 - kept) * (now - average)

        super().__init__(avg_fn=mean)


class LastQuarterMean(WeightAveraging):
    """The mean of the weights after each epoch of the last quarter; before that, the weights themselves.

    Args:
        n_epochs: in all.
        n_steps: of the optimiser in an epoch.
    """

    def __init__(self, n_epochs: int, *, n_steps: int) -> None:
        first = n_epochs - max(n_epochs // 4, 1)
        self._n_steps = n_steps

        def mean(average: torch.Tensor, now: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
            return average + (now - average) / (n - first + 1).clamp_min(1)  # n epochs are done

        super().__init__(avg_fn=mean)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """After the last step of an epoch: what is validated next is the mean with it."""
        return step_idx is not None and (step_idx + 1) % self._n_steps == 0


class Patience(EarlyStopping):
    """Ends a training that gets no better, and one that is resumed after it was ended so."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Lightning restores for how long it got no better, but not that this was enough."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class BestCheckpoint(ModelCheckpoint):
    """Keeps the epoch with the best validation mIoU, also in a folder that was moved meanwhile."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder, filename="best", monitor="val_miou", mode="max", enable_version_counter=False
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning forgets the best score where the folder is another one; here the score is what counts."""
        path, score = str(Path(str(self.dirpath)) / "best.ckpt"), state_dict["best_model_score"]
        paths = {"dirpath": self.dirpath, "best_model_path": path, "kth_best_model_path": path}
        super().load_state_dict({**state_dict, **paths, "best_k_models": {path: score}})


class Told(Callback):
    """Says what each epoch came to, and keeps it in the checkpoint: a resumed training has one curve."""

    def __init__(self, path: Path, on_epoch: Callable[[Epoch], None], model: str) -> None:
        self._path, self._on_epoch, self._model = path, on_epoch, model
        self._rows: list[dict[str, float]] = []

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the row of the epoch."""
        at = {name: float(value) for name, value in trainer.callback_metrics.items()}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self._rows.append({"epoch": trainer.current_epoch + 1, "learning_rate": rate, **at})

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Complete the row and tell it."""
        self._rows[-1]["loss"] = float(trainer.callback_metrics["loss"])
        if not trainer.is_global_zero:
            return
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
                is_best=all(row["val_miou"] < last["val_miou"] for row in self._rows[:-1]),
            )
        )

    def state_dict(self) -> dict[str, list[dict[str, float]]]:
        """The rows so far."""
        return {"rows": self._rows}

    def load_state_dict(self, state_dict: dict[str, list[dict[str, float]]]) -> None:
        """Go on from them."""
        self._rows = list(state_dict["rows"])
