"""Losses that are means over the labelled pixels of a batch."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self

import torch
from pydantic import Field
from torch.nn import functional as F  # noqa: N812  (torch's own name for it)

from geoseg.errors import TrainingError
from geoseg.training.losses import LOSSES, Loss, check_one_per_class, labelled

Share = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]


@LOSSES.register("cross-entropy")
class CrossEntropy(Loss):
    """Cross-entropy, -log p of the label, if asked with smoothed labels.

    With smoothing e the label is 1 - e + e/C and the other classes are e/C (Szegedy et al. 2016, CVPR,
    section 7). The mean over labelled pixels.
    """

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """e, 0 to below 1: how much of the label is spread over all classes."""

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """See ``Loss``."""
        scores, classes = labelled(logits, labels)
        total = F.cross_entropy(scores, classes, label_smoothing=self.label_smoothing, reduction="sum")
        return total / max(len(classes), 1)


@LOSSES.register("weighted-cross-entropy")
class WeightedCrossEntropy(Loss):
    """Cross-entropy in which classes count differently: sum of w[label] * -log p over sum of w[label].

    Weights are given, or are the classes' shares of the training pixels to the power ``-power``: 1 is inverse
    frequency, 0.5 its square root, 0 weighs nothing. Multiplying all of them changes nothing. Smoothing is
    that of ``torch.nn.CrossEntropyLoss`` with weights: the part of class k is weighed by w[k].
    """

    weights: tuple[NotNegative, ...] | None = None
    """One per class, 0 or more; None to derive them from the shares."""
    power: Share = 1.0
    """0 to 1; only without ``weights``."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """See ``cross-entropy``."""

    def for_classes(self, n_classes: int, class_shares: Sequence[float] | None) -> Self:
        """With weights, in which a class that no training pixel has weighs 0."""
        if self.weights is not None:
            check_one_per_class("weighted-cross-entropy weights", self.weights, n_classes)
            return self
        if class_shares is None:
            raise TrainingError(
                "weighted-cross-entropy has no weights and no shares of classes to derive them from; give "
                "weights = [...], one per class."
            )
        weights = tuple(share**-self.power if share > 0 else 0.0 for share in class_shares)
        return self.model_copy(update={"weights": weights})

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """See ``Loss``."""
        scores, classes = labelled(logits, labels)
        weights = scores.new_tensor(self.for_classes(scores.shape[1], None).weights)  # (class,)
        total = F.cross_entropy(
            scores, classes, weights, label_smoothing=self.label_smoothing, reduction="sum"
        )
        weight = weights[classes].sum()
        return total / torch.where(weight > 0, weight, torch.ones_like(weight))


@LOSSES.register("class-balanced")
class ClassBalanced(Loss):
    """Cross-entropy weighed by the effective number of samples of each class (Cui et al. 2019, CVPR).

    A class of n samples weighs (1 - beta) / (1 - beta^n) (section 4), scaled so that the weights of the
    classes with samples have a mean of 1; the mean of w[label] * -log p over labelled pixels. Pixels are no
    independent samples, neighbours say the same: n is the class's share of ``n_samples``, which says how many
    samples the training set is held to be worth.
    """

    beta: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """0 (all classes alike) to below 1 (towards inverse frequency)."""
    n_samples: Annotated[float, Field(ge=1)] = 10_000
    """1 or more."""
    class_shares: tuple[NotNegative, ...] | None = None
    """One per class; None for those of the training data."""

    def for_classes(self, n_classes: int, class_shares: Sequence[float] | None) -> Self:
        """With shares: its own, or else those of the training data."""
        shares = self.class_shares or class_shares
        if not shares or sum(shares) == 0:
            raise TrainingError(
                "class-balanced has no shares of classes to weigh them by; give class_shares = [...], one "
                "per class."
            )
        check_one_per_class("class-balanced class_shares", shares, n_classes)
        return self.model_copy(update={"class_shares": tuple(share / sum(shares) for share in shares)})

    @property
    def weights(self) -> tuple[float, ...]:
        """One per class; 0 for a class that no training pixel has."""
        log_beta = math.log(self.beta) if self.beta else -math.inf
        raw = [
            (1 - self.beta) / -math.expm1(share * self.n_samples * log_beta) if share > 0 else 0.0
            for share in self.class_shares or ()
        ]
        return tuple(weight * sum(share > 0 for share in raw) / sum(raw) for weight in raw)

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """See ``Loss``."""
        scores, classes = labelled(logits, labels)
        weights = scores.new_tensor(self.for_classes(scores.shape[1], None).weights)  # (class,)
        return F.cross_entropy(scores, classes, weights, reduction="sum") / max(len(classes), 1)


@LOSSES.register("focal")
class Focal(Loss):
    """Cross-entropy that looks away from pixels already right: a[label] * (1 - p)^gamma * -log p.

    Lin et al. 2017 (ICCV, arXiv:1708.02002), equation 5, with p the softmax probability of the label in place
    of the paper's sigmoid. The mean over labelled pixels.
    """

    gamma: NotNegative = 2.0
    """0 or more; 0 is cross-entropy."""
    alpha: tuple[NotNegative, ...] | None = None
    """One weight per class, 0 or more; None for 1."""

    def for_classes(self, n_classes: int, class_shares: Sequence[float] | None) -> Self:
        """Itself."""
        if self.alpha is not None:
            check_one_per_class("focal alpha", self.alpha, n_classes)
        return self

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """See ``Loss``."""
        scores, classes = labelled(logits, labels)
        log_p = scores.log_softmax(1).gather(1, classes[:, None])[:, 0]  # (pixel,)
        # The slope of x^gamma is infinite at 0 for gamma below 1, and 0 times it NaN.
        miss = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
        losses = -(miss**self.gamma) * log_p
        if self.alpha is not None:
            losses = losses * scores.new_tensor(self.alpha)[classes]
        return losses.sum() / max(len(classes), 1)


@LOSSES.register("bootstrapped")
class Bootstrapped(Loss):
    """Cross-entropy against labels that are partly wrong: the network's own answer is part of the target.

    Reed et al. 2015 (ICLR workshop, arXiv:1412.6596, section 3): the target is beta * label + (1 - beta) * q,
    where q are the probabilities themselves (``soft``; their gradient flows, which adds the entropy as in
    minimum entropy regularisation) or 1 for the most probable class (``hard``). The mean over labelled
    pixels.
    """

    mode: Literal["soft", "hard"] = "soft"
    """Which answer of the network counts."""
    beta: Share = 0.95
    """0 to 1 (plain cross-entropy): how far the label is believed. The paper takes 0.95 soft and 0.8 hard."""

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """See ``Loss``."""
        scores, classes = labelled(logits, labels)
        log_p = scores.log_softmax(1)  # (pixel, class)
        of_label = log_p.gather(1, classes[:, None]).sum()
        own = (log_p.exp() * log_p).sum() if self.mode == "soft" else log_p.amax(1).sum()
        return -(self.beta * of_label + (1 - self.beta) * own) / max(len(classes), 1)


@LOSSES.register("evidential")
class Evidential(Loss):
    """For networks whose logits are evidence (a card with activation ``evidential``).

    Sensoy et al. 2018 (NeurIPS, arXiv:1806.01768). With a = softplus(logits) + 1, S their sum over classes,
    p = a / S and y the label as 0 and 1, the risk is sum((y - p)^2 + p (1 - p) / (S + 1)) (``mse``,
    equation 5) or sum(y (log S - log a)) (``likelihood``, type II maximum likelihood, equation 3). To it
    comes, times ``kl_weight``, the Kullback-Leibler divergence of Dirichlet(y + (1 - y) a) from the flat one,
    which takes evidence for wrong classes away. The mean over labelled pixels.
    """

    risk: Literal["mse", "likelihood"] = "mse"
    """What is made small besides the divergence."""
    kl_weight: NotNegative = 1.0
    """0 or more; at the end of the annealing."""
    annealing_epochs: NotNegative = 10.0
    """The weight of the divergence grows from 0 to ``kl_weight`` over so many epochs; 0 for at once."""

    def at_epoch(self, epoch: float) -> Self:
        """With the weight that the divergence has by then."""
        grown = min(1.0, epoch / self.annealing_epochs) if self.annealing_epochs else 1.0
        return self.model_copy(update={"kl_weight": self.kl_weight * grown})

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """See ``Loss``."""
        scores, classes = labelled(logits, labels)
        alpha = F.softplus(scores) + 1  # (pixel, class)
        truth = F.one_hot(classes, scores.shape[1]).to(alpha.dtype)
        strength = alpha.sum(1, keepdim=True)  # (pixel, 1)
        if self.risk == "mse":
            p = alpha / strength
            risk = (truth - p) ** 2 + p * (1 - p) / (strength + 1)
        else:
            risk = truth * (strength.log() - alpha.log())
        total = risk.sum() + self.kl_weight * _divergence_from_flat(truth + (1 - truth) * alpha).sum()
        return total / max(len(classes), 1)


def _divergence_from_flat(alpha: torch.Tensor) -> torch.Tensor:
    """KL of Dirichlet(alpha) from Dirichlet(1, ..., 1), (pixel, class) -> (pixel,)."""
    strength = alpha.sum(1)
    log_ratio = strength.lgamma() - math.lgamma(alpha.shape[1]) - alpha.lgamma().sum(1)
    return log_ratio + ((alpha - 1) * (alpha.digamma() - strength.digamma()[:, None])).sum(1)
