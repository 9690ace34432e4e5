"""The step of a training and of its validation, as Lightning runs them."""

import math
from collections.abc import Iterator

import lightning as L  # noqa: N812  (its own name for it)
import numpy as np
import torch
from torch import nn

from geoseg.evaluation.benchmark import IGNORE
from geoseg.evaluation.confusion import Counts, count
from geoseg.evaluation.metrics import OVERALL
from geoseg.models.card import ModelCard
from geoseg.models.rounding import Rounding
from geoseg.models.zoo import logits_of, ready
from geoseg.training.augment import Augmentation
from geoseg.training.data import seed_of
from geoseg.training.distillation import Teacher, soft_loss
from geoseg.training.losses import DeepSupervision
from geoseg.training.start import keep_frozen_still
from geoseg.training.tables import Distill, Fit

VALIDATION_SIDE = 1024
"""Side of the largest piece of an image that is validated at once, pixels."""


class Segmenter(L.LightningModule):
    """A network that learns its card's classes.

    Args:
        card: bands, normalisation, classes.
        network: (n, band, y, x) normalised reflectance to (n, class, y, x) logits; in training mode also a
            list of them, from fine to coarse.
        loss: of logits and labels.
        augmentation: of batches.
        fit: how.
        n_steps: of the optimiser, in all.
        teacher: whose answers are learned too, and how.
        rounding: that the network is held to, whose ranges are state of the training.
    """

    def __init__(
        self,
        card: ModelCard,
        network: nn.Module,
        loss: DeepSupervision,
        augmentation: Augmentation,
        *,
        fit: Fit,
        n_steps: int,
        teacher: tuple[Teacher, Distill] | None = None,
        rounding: Rounding | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.rounding = rounding
        self._card, self._loss, self._augmentation = card, loss, augmentation
        self._fit, self._n_steps, self._teacher = fit, n_steps, teacher
        self._counts: Counts = np.zeros((0, 0), np.int64)

    def on_train_epoch_start(self) -> None:
        """Tell the loss how far the training is; frozen norms stay still."""
        self._loss.set_epoch(self.current_epoch)
        keep_frozen_still(self.network)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """The loss of a batch, varied; its random numbers follow from the seed and the batch's number."""
        torch.manual_seed(seed_of(self._fit.seed, self.current_epoch, self.global_rank, batch_idx + 1))
        pixels, labels = self._augmentation(batch[0], batch[1].long())
        inputs, chosen = ready(pixels, self._card), None
        if self._fit.pixels_per_image:
            chosen = _some_labelled(labels, self._fit.pixels_per_image)
            logits = self.network.at(inputs, chosen)  # type: ignore[operator]
            labels = labels.flatten(1).gather(1, chosen)[..., None]
        else:
            logits = self.network(inputs)
        loss: torch.Tensor = self._loss(logits, labels)
        if self._teacher is not None:
            teacher, how = self._teacher
            finest = logits if isinstance(logits, torch.Tensor) else logits[0]
            said, is_known = teacher(pixels), pixels.isfinite().all(1)
            if chosen is not None:
                said = said.flatten(2).gather(2, chosen[:, None].expand(-1, said.shape[1], -1))[..., None]
                is_known = is_known.flatten(1).gather(1, chosen)[..., None]
            soft = soft_loss(finest, said, is_known, temperature=how.temperature)
            loss = (1 - how.weight) * loss + how.weight * soft
        self.log("loss", loss.detach(), on_step=False, on_epoch=True, batch_size=len(labels))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the last epoch's counts."""
        n = len(self._card.legend.classes)
        self._counts = np.zeros((n, n + 1), np.int64)

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> None:
        """Count the classes of whole images, one at a time."""
        (pixels,), (labels,) = batch
        n = len(self._card.legend.classes)
        for at in pieces(labels.shape):
            self._counts += counts_of(labels[*at], classes_of(self.network, pixels[:, *at], self._card), n)

    def on_validation_epoch_end(self) -> None:
        """MIoU and accuracy of all validation images together."""
        for name, score in (("val_miou", "miou"), ("val_accuracy", "pixel_accuracy")):
            value = float(OVERALL[score](self._counts))
            self.log(name, 0.0 if math.isnan(value) else value)

    def configure_optimizers(self):  # type: ignore[no-untyped-def]
        """AdamW (Loshchilov and Hutter 2019), without decay of norms and biases, and a schedule by step."""
        weights = [p for p in self.network.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in weights if p.ndim > 1], "weight_decay": self._fit.weight_decay},
            {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self._fit.learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate(self, step: int) -> float:
        """Share of the learning rate: up in the warm-up, then down as the schedule says."""
        warmup = self._fit.warmup * self._n_steps
        if step < warmup:
            start = (1 + step) / (1 + warmup)
            return start if self._fit.schedule != "one-cycle" else (1 - math.cos(math.pi * start)) / 2
        if self._fit.schedule == "constant":
            return 1.0
        progress = min((step - warmup) / max(self._n_steps - warmup, 1), 1.0)
        floor = 1e-4 if self._fit.schedule == "one-cycle" else 1e-2
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2


def classes_of(network: nn.Module, pixels: torch.Tensor, card: ModelCard) -> torch.Tensor:
    """(y, x) of reflectance (band, y, x), which is filled up to a size that the network takes."""
    return logits_of(network, pixels[None], card)[0].argmax(0)


def counts_of(labels: torch.Tensor, found: torch.Tensor, n_classes: int) -> Counts:
    """The confusion matrix of labels, IGNORE where there is none, and of the classes found; both (y, x)."""
    return count(labels.cpu().numpy(), found.cpu().numpy(), n_classes=n_classes)


def _some_labelled(labels: torch.Tensor, k: int) -> torch.Tensor:
    """(n, k) pixels of (n, y, x), numbered row by row, with a label where the image has as many."""
    order = torch.rand(labels.flatten(1).shape, device=labels.device) + (labels.flatten(1) == IGNORE)
    return order.topk(min(k, order.shape[1]), dim=1, largest=False).indices


def pieces(shape: torch.Size) -> Iterator[tuple[slice, slice]]:
    """Parts of an image that are validated at once."""
    for top in range(0, shape[0], VALIDATION_SIDE):
        for left in range(0, shape[1], VALIDATION_SIDE):
            yield slice(top, top + VALIDATION_SIDE), slice(left, left + VALIDATION_SIDE)
