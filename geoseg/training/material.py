"""What a recipe learns from: images, how often each is seen, norms; and the card of what learns."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import TrainingError
from geoseg.evaluation.benchmark import Benchmark
from geoseg.models.card import ModelCard
from geoseg.training.beside import beside_samples
from geoseg.training.data import (
    Chips,
    Images,
    Statistics,
    image_weights,
    read_splits,
    refuse_leaks,
    statistics,
    with_beside,
)
from geoseg.training.pseudo import pseudo_labelled
from geoseg.training.recipe import TrainRecipe

_HALO = 64


def images_of(recipe: TrainRecipe) -> tuple[Images, Images]:
    """The images that a recipe learns from, and those that it validates on.

    Raises:
        TrainingError: a place is in both, or other images do not fit.
        EvaluationError: images are missing.
    """
    train_images, val_images = read_splits(recipe.data)
    benchmark, samples, n_beside = train_images.benchmark, train_images.samples, 0
    bands = recipe.data.bands or benchmark.bands
    if recipe.pseudo is not None:
        samples += pseudo_labelled(recipe.pseudo, benchmark, bands)
    if recipe.beside is not None:
        more = beside_samples(recipe.beside, benchmark, bands)
        samples, n_beside = samples + more, len(more)
    joined = replace(train_images, samples=samples, n_beside=n_beside)
    if recipe.data.folds is None or recipe.data.fold is not None:
        refuse_leaks(joined, val_images)
    return joined, val_images


def weights_of(images: Images, chips: Chips, recipe: TrainRecipe) -> NDArray[np.float64]:
    """(image,) how often each is seen; they add up to 1."""
    n_own = len(images.samples) - images.n_beside
    own = image_weights(images.places[:n_own], chips.class_counts()[:n_own], recipe.data)
    if recipe.beside is None:
        return own
    return with_beside(own, n=images.n_beside, share=recipe.beside.share)


def norms_of_folds(recipe: TrainRecipe) -> Statistics:
    """Of all places of all folds: networks of one model are normalised alike."""
    data = recipe.data.model_copy(update={"fold": None})
    images, _ = read_splits(data)
    chips = Chips(images, card_for(recipe, images.benchmark))
    return statistics(chips, image_weights(images.places, chips.class_counts(), data))


def card_for(recipe: TrainRecipe, benchmark: Benchmark) -> ModelCard:
    """Of the model that a recipe asks for, without normalisation.

    Raises:
        TrainingError: nobody says the pixel size, or the halo is too wide for the tile.
    """
    network = recipe.network
    widest = network.tile_size // 4
    halo = min(_HALO, widest) if network.halo is None else network.halo
    if halo > widest:
        least = -(-4 * halo // network.tile_multiple) * network.tile_multiple
        raise TrainingError(
            f"network.halo = {halo} is too wide for network.tile_size = {network.tile_size}: no map could be "
            f"made. Give a halo of {widest} or less, or tiles of {least} or more."
        )
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
        halo=halo,
        legend=benchmark.legend,
        license=recipe.license,
        activation=network.activation,
    )
