"""What is trained: the network that a recipe asks for, with its loss, its teachers and its variations."""

import logging

import torch

from geoseg.errors import TrainingError
from geoseg.models.card import ModelCard
from geoseg.models.context import ContextMLP
from geoseg.models.rounding import Rounding, layers_of
from geoseg.models.zoo import FAMILIES
from geoseg.training.augment import Augmentation
from geoseg.training.data import Images, Statistics, seed_of
from geoseg.training.distillation import teacher_of
from geoseg.training.losses import DeepSupervision, build_loss
from geoseg.training.module import Segmenter
from geoseg.training.recipe import TrainRecipe
from geoseg.training.start import begin

logger = logging.getLogger(__name__)


def build_segmenter(recipe: TrainRecipe, card: ModelCard, found: Statistics, *, n_batches: int) -> Segmenter:
    """The network of a recipe, ready to be trained.

    Args:
        recipe: what is asked for.
        card: of the model that it becomes.
        found: what the images that are learned from look like.
        n_batches: in an epoch.

    Raises:
        TrainingError: weights, loss or teachers do not fit.
        ModelError: the family knows no such network.
    """
    torch.manual_seed(seed_of(recipe.fit.seed))
    network, fresh = begin(FAMILIES[card.family](card), card, recipe.start)
    can_be_asked = any(isinstance(m, ContextMLP) for m in network.modules())
    if recipe.fit.pixels_per_image and not can_be_asked:
        raise TrainingError(
            f"fit.pixels_per_image is for networks that can be asked for some pixels, which {card.family} "
            "cannot. Leave it out, or take the family context-mlp."
        )
    if recipe.start.model is not None and fresh:
        logger.warning("New weights, as those of %s do not fit: %s.", recipe.start.model, ", ".join(fresh))
    network = network.to(memory_format=torch.channels_last)
    rounding = None
    if recipe.fit.int8:
        layers = layers_of(network, n_bands=len(card.bands), tile_multiple=card.tile_multiple)
        rounding = Rounding(network, layers)
    return Segmenter(
        card,
        network,
        DeepSupervision(
            build_loss(recipe.loss, n_classes=len(card.legend.classes), class_shares=found.class_shares)
        ),
        Augmentation(recipe.augment, torch.tensor(found.mean)),
        fit=recipe.fit,
        n_steps=recipe.fit.epochs * -(-n_batches // recipe.fit.accumulate),
        teacher=(teacher_of(recipe.distill, card), recipe.distill) if recipe.distill else None,
        rounding=rounding,
    )


def refuse_untrainable(recipe: TrainRecipe, card: ModelCard, images: Images) -> None:
    """Raises what a training would raise after its images are read: it is built, and forgotten."""
    n_bands, n_classes = len(card.bands), len(card.legend.classes)
    nothing = Statistics((0.0,) * n_bands, (1.0,) * n_bands, (1 / n_classes,) * n_classes, (0.0, 1.0))
    n_per_epoch(recipe, len(images.samples))
    build_segmenter(recipe, card, nothing, n_batches=1)


def n_per_epoch(recipe: TrainRecipe, n_images: int) -> int:
    """How many images are drawn for an epoch.

    Raises:
        TrainingError: they make no batch.
    """
    n = (recipe.fit.steps_per_epoch or 0) * recipe.fit.batch_size or n_images
    if n < recipe.fit.batch_size:
        raise TrainingError(
            f"{n} images make no batch of {recipe.fit.batch_size}. Give a smaller fit.batch_size."
        )
    return n


def refuse_uneven(shapes: set[tuple[int, int]], recipe: TrainRecipe) -> None:
    """Raises TrainingError where whole images of these (height, width) make no batch."""
    if recipe.augment.crop is None and recipe.fit.batch_size > 1 and len(shapes) > 1:
        few = ", ".join(f"{width} x {height}" for height, width in sorted(shapes)[:3])
        raise TrainingError(
            f"The images to learn from are of {len(shapes)} sizes ({few}{', ...' * (len(shapes) > 3)}): they "
            "make no batch. Give augment.crop, the side of a square to be cut from each, a multiple of "
            f"{recipe.network.tile_multiple}."
        )
