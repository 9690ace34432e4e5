"""Losses that compare whole classes, their areas or their outlines, and not pixel with pixel."""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, Field
from torch.nn import functional as F  # noqa: N812  (torch's own name for it)

from geoseg.evaluation.benchmark import IGNORE
from geoseg.training.losses import LOSSES, Loss, in_full, labelled

_EPS = 1e-7


@LOSSES.register("dice")
class Dice(Loss):
    """1 - Dice coefficient of probabilities and labels, the mean over the classes that the labels have.

    Per class (TP + s) / (TP + FP/2 + FN/2 + s), where TP is the sum of the probabilities in the pixels of the
    class, FP elsewhere, FN that of 1 - probability in them, and s is ``smooth``: the soft Dice of Milletari
    et al. 2016 (3DV, arXiv:1606.04797, section 3), without its squares in the denominator, as in Drozdzal
    et al. 2016 (arXiv:1608.04117).
    """

    smooth: Annotated[float, Field(ge=0)] = 0.0
    """0 or more, pixels: the larger, the less a class of few pixels counts."""
    per_image: bool = False
    """Compare image by image and take the mean, in place of the batch as one; images without labels are left
    out."""

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """See ``Loss``."""
        return Tversky(alpha=0.5, beta=0.5, smooth=self.smooth, per_image=self.per_image)(logits, labels)


@LOSSES.register("tversky")
class Tversky(Loss):
    """1 - Tversky index, in which false positives and false negatives weigh differently; focal by ``gamma``.

    Per class TI = (TP + s) / (TP + alpha FP + beta FN + s), terms as for ``dice`` (Salehi et al. 2017, MLMI,
    arXiv:1706.05721, section 2). The loss is (1 - TI)^(1 / gamma), the mean over the classes that the labels
    have (focal Tversky: Abraham and Khan 2019, ISBI, arXiv:1810.07842).
    """

    alpha: Annotated[float, Field(ge=0)] = 0.3
    """0 or more: the weight of false positives."""
    beta: Annotated[float, Field(ge=0)] = 0.7
    """0 or more: the weight of false negatives; above ``alpha`` finds more of the rare classes."""
    gamma: Annotated[float, Field(ge=1, le=3)] = 1.0
    """1 (plain Tversky) to 3; above 1 the classes that are already good count more than their share."""
    smooth: Annotated[float, Field(ge=0)] = 0.0
    """See ``dice``."""
    per_image: bool = False
    """See ``dice``."""

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """See ``Loss``."""
        groups = _groups(logits, labels, per_image=self.per_image)
        return _mean([self._of_group(scores, classes) for scores, classes in groups], logits)

    def _of_group(self, scores: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        probs, truth = scores.softmax(1), _truth(classes, scores.shape[1])  # (pixel, class)
        hit = torch.where(truth, probs, 0).sum(0)
        false_positive = torch.where(truth, 0, probs).sum(0)
        false_negative = torch.where(truth, 1 - probs, 0).sum(0)
        union = hit + self.alpha * false_positive + self.beta * false_negative + self.smooth
        losses = (1 - (hit + self.smooth) / union.clamp_min(_EPS))[truth.any(0)]
        if self.gamma != 1:  # whose slope at 0 is infinite
            losses = losses.clamp_min(_EPS) ** (1 / self.gamma)
        return losses.mean()


@LOSSES.register("lovasz")
class Lovasz(Loss):
    """Lovász-Softmax, which falls as the intersection over union of each class rises.

    Berman et al. 2018 (CVPR, arXiv:1705.08790): per class the errors |y - p| in falling order, times what
    each adds to the Jaccard loss of the pixels before it (algorithm 1).
    """

    classes: Literal["present", "all"] = "present"
    """The mean over the classes that the labels have, or over all; an absent class costs its largest
    probability."""
    per_image: bool = False
    """See ``dice``."""

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """See ``Loss``."""
        groups = _groups(logits, labels, per_image=self.per_image)
        return _mean([self._of_group(scores, classes) for scores, classes in groups], logits)

    def _of_group(self, scores: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        probs, truth = scores.softmax(1), _truth(classes, scores.shape[1])  # (pixel, class)
        errors, order = torch.where(truth, 1 - probs, probs).sort(0, descending=True)
        losses = (errors * _jaccard_steps(truth.gather(0, order), errors.dtype)).sum(0)  # (class,)
        return (losses[truth.any(0)] if self.classes == "present" else losses).mean()


def _jaccard_steps(truth: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What the Jaccard loss grows by with each pixel taken for wrong in turn, (pixel, class) of truth."""
    # Counted in integers: float32 stops counting at 2^24 pixels.
    missed = truth.cumsum(0, dtype=torch.int32)
    added = (~truth).cumsum(0, dtype=torch.int32)
    area = missed[-1]
    jaccard = 1 - (area - missed).to(dtype) / (area + added)
    return torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])


def _is_odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("must be odd")
    return value


OddWidth = Annotated[int, Field(ge=3), AfterValidator(_is_odd)]


@LOSSES.register("boundary")
class Boundary(Loss):
    """1 - F1 of the outlines of the classes, for edges that are sharp and in their place.

    Bokhovkin and Burnaev 2019 (ISNN, arXiv:1905.07852), made for remote sensing; it needs no distance maps.
    With y the probability (in labels 0 or 1), the outline is how far the largest 1 - y in a window of
    ``width`` exceeds the pixel's own. Precision is the part of the predicted outline that lies in the labels'
    outline widened to ``tolerance``, recall the reverse. The mean over all classes in all images that have
    an outline in the labels. Unlabelled pixels are as if outside of the image: no outline is in them or along
    them.
    """

    width: OddWidth = 3
    """Odd, 3 or more, pixels: the window that finds outlines (the paper's theta 0)."""
    tolerance: OddWidth = 5
    """Odd, 3 or more, pixels: the window by which outlines are widened (the paper's theta)."""

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """See ``Loss``."""
        has_label = (labels != IGNORE)[:, None]  # (n, 1, y, x)
        probs = in_full(logits).softmax(1)  # (n, class, y, x)
        truth = labels[:, None] == torch.arange(probs.shape[1], device=labels.device)[:, None, None]
        found = self._outlines(probs, has_label)
        wanted = self._outlines(truth.to(probs.dtype), has_label)
        precision = _part_of(found, _largest_around(wanted, self.tolerance))  # (n, class)
        recall = _part_of(wanted, _largest_around(found, self.tolerance))
        losses = 1 - 2 * precision * recall / (precision + recall + _EPS)
        has_outline = wanted.sum((2, 3)) > 0
        return losses[has_outline].sum() / has_outline.sum().clamp_min(1)

    def _outlines(self, values: torch.Tensor, has_label: torch.Tensor) -> torch.Tensor:
        others = torch.where(has_label, 1 - values, 0)
        return torch.where(has_label, _largest_around(others, self.width) - others, 0)


def _largest_around(values: torch.Tensor, width: int) -> torch.Tensor:
    return F.max_pool2d(values, width, stride=1, padding=width // 2)


def _part_of(outline: torch.Tensor, zone: torch.Tensor) -> torch.Tensor:
    return (outline * zone).sum((2, 3)) / (outline.sum((2, 3)) + _EPS)


def _groups(
    logits: torch.Tensor, labels: torch.Tensor, *, per_image: bool
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Labelled pixels, (pixel, class) and (pixel,): of each image, or of all at once; none without pixels."""
    size = 1 if per_image else len(logits)
    for some_logits, some_labels in zip(torch.split(logits, size), torch.split(labels, size), strict=True):
        scores, classes = labelled(some_logits, some_labels)
        if len(classes):
            yield scores, classes


def _mean(losses: list[torch.Tensor], logits: torch.Tensor) -> torch.Tensor:
    """Of the groups; 0 that still depends on the logits where there are none."""
    return torch.stack(losses).mean() if losses else in_full(logits)[:0].sum()


def _truth(classes: torch.Tensor, n_classes: int) -> torch.Tensor:
    return classes[:, None] == torch.arange(n_classes, device=classes.device)
