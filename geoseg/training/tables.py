"""The tables of a training recipe: data, network, what is known before, how images vary, how it learns."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from geoseg.models.card import Activation

Share = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(ge=0)]
Stem = Literal["mean", "cycle", "zero", "projection"]


class Table(BaseModel):
    """Frozen; an unknown key is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(Table):
    """Which labelled images are learned from, and which tell when it is enough."""

    benchmark: str
    """Name of a data set, or the TOML file of labelled images of one's own."""
    root: str
    """Their folder."""
    train_split: str = "train"
    """Several with commas, such as ``train,val`` with ``folds``."""
    val_split: str = "val"
    val_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the places of ``train_split`` to validate on, where the data have no split for it."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """So many networks, one model: each learns from all places of ``train_split`` but its share of them, on
    which it is validated (cross-validation)."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """With ``folds``: only the network of this share, from 0."""
    max_places: Annotated[int, Field(ge=1)] | None = None
    """Learn from so many places, which follow from their names: for scores over the size of the data."""
    bands: tuple[str, ...] | None = None
    """STAC common names of the model's bands; None for all that the images have."""
    place_power: Share = 0.5
    """How often a place is seen: its number of images to this power. 1 draws images, 0 draws places."""
    class_power: Share = 0.0
    """How much more often the images of a place with much of rare classes are seen: a pixel counts as
    its class's share of all pixels to the power of minus this, an image as the mean of its pixels."""


class Network(Table):
    """The model that is made, as far as the data do not say it."""

    family: str = "unet"
    """A registered family: see ``geoseg models list``."""
    hyperparameters: dict[str, str | int | float | bool] = {}
    tile_size: Annotated[int, Field(gt=0)] = 512
    """Side of the tiles that maps are made with, pixels."""
    tile_multiple: Annotated[int, Field(gt=0)] = 32
    halo: Annotated[int, Field(ge=0)] | None = None
    """Margin that tiles share, pixels; None for 64, or a quarter of the tile where that is less."""
    gsd_m: Annotated[float, Field(gt=0)] | None = None
    """Pixel size, metres; None for that of the images."""
    gsd_range_m: tuple[float, float] | None = None
    """Pixel sizes at which its map can still be used; None for half and twice that size."""
    activation: Activation = "softmax"


class Start(Table):
    """What the network knows before it learns, and what of it may change."""

    model: str | None = None
    """A model folder of the same family, whose weights are taken where they fit; None to begin with none."""
    stem: Stem = "mean"
    """How its first layer is fitted to other bands: see :func:`geoseg.training.start.fit_stem`, or
    ``projection``, a mix of bands that is learned."""
    freeze: tuple[str, ...] = ()
    """Parts of the network that stay as they are, such as ``encoder``."""
    lora_rank: Annotated[int, Field(ge=1)] | None = None
    """Learn low-rank steps of this rank beside all layers, and what does not fit, instead of the layers."""


class Distill(Table):
    """Learning from other models."""

    teachers: Annotated[tuple[str, ...], Field(min_length=1)]
    """Model folders, names of built-in models, or ONNX files that take normalised bands and give logits."""
    weight: Share = 0.5
    """Of what they say against the labels."""
    temperature: Annotated[float, Field(ge=1)] = 2.0
    """Above 1 their doubts count more."""


class Pseudo(Table):
    """Images without labels that are learned from too, by what a model is sure of."""

    model: str
    """A model folder, or the name of a built-in one, with the same classes."""
    benchmark: str
    """See :class:`Data`; labels that are there are not looked at."""
    root: str
    split: str
    threshold: Share = 0.9
    """Pixels with a smaller largest probability have no label."""


class Beside(Table):
    """Labelled images of another data set with the same classes that are learned from too."""

    benchmark: str
    """See :class:`Data`; ``synthetic-landcover`` for drawn scenes."""
    root: str = "."
    split: str = "train"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Of the images that are seen; nothing is validated on them."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """At most so many of them; None for all."""


class Augment(Table):
    """How images are varied, in ways in which real ones vary."""

    crop: Annotated[int, Field(gt=0)] | None = None
    """Side of the square that is cut from each image, pixels; None for the whole image."""
    flip: bool = True
    """Mirror and turn by quarters: an image from above has no up."""
    scale: tuple[float, float] = (0.7, 1.4)
    """Magnification, drawn between these; 1, 1 for none."""
    gain: Spread = 0.05
    """Standard deviation of the logarithm of a factor on all bands: sun, haze, sensors."""
    band_gain: Spread = 0.03
    """The same for each band by itself."""
    haze: Spread = 0.0
    """Standard deviation of a sum in reflectance that falls from the first band to the last."""
    noise: Spread = 0.01
    """Standard deviation of a pixel's error, as a share of its value."""
    band_dropout: Share = 0.0
    """How often a band is replaced by its mean."""
    match: Share = 0.0
    """How often an image takes the histogram of another one, band by band: other sensors and seasons."""
    cutmix: Share = 0.0
    """How often a rectangle of another image is pasted in (Yun et al. 2019, arXiv:1905.04899)."""


class Fit(Table):
    """How the weights are found."""

    epochs: Annotated[int, Field(ge=1)] = 50
    steps_per_epoch: Annotated[int, Field(ge=1)] | None = None
    """None for as many as images and batches give."""
    batch_size: Annotated[int, Field(ge=1)] = 8
    pixels_per_image: Annotated[int, Field(ge=0)] = 0
    """Labelled pixels of an image that teach at a visit, drawn anew each time: neighbours say much the same.
    For families that can be asked for some pixels (``context-mlp``); 0 for all."""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Batches whose gradients make one step."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Spread = 1e-2
    schedule: Literal["one-cycle", "cosine", "constant"] = "one-cycle"
    warmup: Share = 0.1
    """Share of all steps in which the learning rate rises."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of the gradient."""
    averaging: Literal["none", "ema", "swa"] = "ema"
    """Weights that are kept: those of the last step, their exponential mean over steps, or their mean over
    the epochs of the last quarter (Izmailov et al. 2018, arXiv:1803.05407)."""
    ema_decay: Share = 0.99
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    """``auto``: bfloat16 where the processor has it."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Epochs without a better validation mIoU after which it ends; None to go on to the end."""
    int8: bool = False
    """Learn under the rounding of an int8 runtime, from the first step on; its ranges go into ``int8.json``
    (Jacob et al. 2018, arXiv:1712.05877). To end a training in float with it, begin a second one with that
    model."""
    devices: Annotated[int, Field(ge=1)] = 1
    """GPUs, or processes where there are none; each takes batches of its own, gradients are averaged."""
    seed: Annotated[int, Field(ge=0)] = 0
