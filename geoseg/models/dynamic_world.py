"""Dynamic World: Google's published land-cover network for Sentinel-2, rebuilt in torch.

Brown et al. 2022, "Dynamic World, Near real-time global 10 m land use land cover mapping", Scientific Data
9:251, doi 10.1038/s41597-022-01307-4. The layers, their order and constants are those of the graph in
``model/forward/saved_model.pb`` of github.com/google/dynamicworld; the weights are read from its variables.

The network works at half the resolution of its input: one convolution, halving, three residual blocks of
three depthwise 3x3 convolutions, doubling, and a linear classifier of normalised features.
"""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from geoseg.errors import ModelError
from geoseg.legend import Legend, LegendClass
from geoseg.models.card import ModelCard
from geoseg.models.tensor_bundle import read_variables
from geoseg.models.weights import PublishedFile, PublishedWeights, Tensors, cached_weights
from geoseg.models.zoo import register_family, register_model

_BANDS = (
    "blue", "green", "red", "rededge071", "rededge075", "rededge078", "nir", "swir16", "swir22",
)  # fmt: skip
_CENTRE = (
    1.7417268, 1.7261205, 1.6798346, 1.7734970, 2.2891541, 2.3829397, 2.3828940, 2.1952484, 1.5548129,
)  # fmt: skip
_SPREAD = (
    2.0232987, 2.0389052, 2.1795928, 2.2890068, 2.6171675, 2.7734186, 2.7578333, 2.7890925, 2.4140535,
)  # fmt: skip
"""Of ln(0.005 DN + 1) per band, as single_image_runner.ipynb of the repository has them."""
_LOG_GAIN = 50.0
"""0.005 per digital number, of which there are 10000 to a reflectance of 1."""
_NORM_EPS = 1e-3
_LEAST_LENGTH = 1e-6
"""TensorFlow bounds its square, 1e-12."""
_KNOWN_SHARE = 0.13
"""Halving weighs four pixels of a row by 1, 3, 3, 1 eighths. A cell that reaches into the data with an outer
pixel only has a share of 8/64 and is nodata; one that covers a single known pixel has 9/64 and is not."""

_INDEX, _DATA = "variables.index", "variables.data-00000-of-00001"


class _Layer(nn.Module):
    """Convolution, batch normalisation, mish."""

    def __init__(self, n_in: int, n_out: int, *, size: int, is_depthwise: bool = False) -> None:
        super().__init__()
        groups = n_in if is_depthwise else 1
        self.conv = nn.Conv2d(n_in, n_out, size, padding=size // 2, groups=groups)
        self.norm = nn.BatchNorm2d(n_out, eps=_NORM_EPS)

    def forward(self, features: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """(n, n_in, y, x) to (n, n_out, y, x); ``known`` (n, 1, y, x) is 0 where there is nodata, else 1."""
        if self.conv.padding[0]:
            features = features * known  # as the network's own padding, which is 0 before each convolution
        active: torch.Tensor = functional.mish(self.norm(self.conv(features)))
        return active


class _Path(nn.ModuleList):
    """Separable convolutions one after the other: across features, then across pixels, and again."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        for n_in, n_out in pairwise(widths):
            self.append(_Layer(n_in, n_out, size=1))
            self.append(_Layer(n_out, n_out, size=3, is_depthwise=True))

    def forward(self, features: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """See :meth:`_Layer.forward`."""
        for layer in self:
            features = layer(features, known)
        return features


class _Block(nn.Module):
    """Three separable convolutions beside a shortcut."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.path = _Path(n_in, n_out, n_out, n_out)
        self.shortcut = _Layer(n_in, n_out, size=1)

    def forward(self, features: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """See :meth:`_Layer.forward`."""
        both: torch.Tensor = self.path(features, known) + self.shortcut(features, known)
        return both


class DynamicWorld(nn.Module):
    """The published network, from reflectance to logits.

    Pixels that are 0 in all bands are nodata. They are kept out of what the others see, so that the edge of
    the data is to the network what the edge of an image is; taken as black ground they turn water into
    trees up to 15 pixels away.
    """

    centre: torch.Tensor
    spread: torch.Tensor

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.tensor(_CENTRE)[:, None, None], persistent=False)
        self.register_buffer("spread", torch.tensor(_SPREAD)[:, None, None], persistent=False)
        self.enter = _Layer(len(_BANDS), 64, size=3)
        self.early, self.middle, self.late = _Block(64, 96), _Block(96, 144), _Block(192, 144)
        self.skip = _Path(64, 48)
        self.classify = nn.Conv2d(144, n_classes, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Reflectance (n, 9, y, x) to logits (n, 9, y, x); below 0 counts as 0."""
        known = (pixels != 0).any(1, keepdim=True).to(pixels.dtype)
        logs = torch.log1p(_LOG_GAIN * pixels.clamp_min(0.0))
        return self.logits(torch.sigmoid(5.0 * (logs - self.centre) / self.spread - 1.0), known)

    def logits(self, squashed: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """What the SavedModel computes of values 0..1 (n, 9, y, x): logits (n, 9, y, x)."""
        height, width = squashed.shape[-2:]
        entered = self.enter(squashed, known)
        half, known_half = _halved(entered, known)
        deep = self.middle(self.early(half, known_half), known_half)
        features = self.late(torch.cat([deep, self.skip(half, known_half)], 1), known_half)
        # Cells without data weigh nothing; that the others then weigh less than 1 is undone by the length.
        features = functional.interpolate(features * known_half, (height, width), mode="bilinear")
        # Of features divided by their length, the classifier; divided after it, there is less to divide.
        length = torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp_min(_LEAST_LENGTH)
        weighed = functional.conv2d(features, self.classify.weight)  # (n, 9, y, x)
        logits: torch.Tensor = weighed / length + self.classify.get_parameter("bias")[:, None, None]
        return logits


def _halved(features: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``tf.image.resize(antialias=True)`` of what is known, and where a cell of the result is."""
    size = features.shape[-2] // 2, features.shape[-1] // 2
    share = functional.interpolate(known, size, mode="bilinear", antialias=True)
    half = functional.interpolate(features * known, size, mode="bilinear", antialias=True)
    return half / share.clamp_min(_KNOWN_SHARE), (share > _KNOWN_SHARE).to(share.dtype)


def _layers_of(*names: str) -> list[str]:
    return [f"{name}.{part}" for name in names for part in ("conv", "norm")]


def _last_of(block: str) -> list[str]:
    """The end of a block, whose path and shortcut Keras lists side by side."""
    ends = (f"{block}.path.5", f"{block}.shortcut")
    return [f"{end}.{part}" for part in ("conv", "norm") for end in ends]


def _start_of(block: str) -> list[str]:
    return _layers_of(*(f"{block}.path.{n}" for n in range(5)))


_MODULES = [
    *_layers_of("enter"),
    *_start_of("early"), *_last_of("early"),
    *_start_of("middle"), *_layers_of("skip.0"), *_last_of("middle"), *_layers_of("skip.1"),
    *_start_of("late"), *_last_of("late"),
    "classify",
]  # fmt: skip
"""The modules in the order in which the SavedModel numbers their variables."""
_PARTS = {"conv": ("weight", "bias"), "norm": ("weight", "bias", "running_mean", "running_var")}


def state_of(contents: Mapping[str, bytes]) -> Tensors:
    """The network's ``state_dict`` from the two files of the SavedModel's variables.

    Raises:
        ModelError: see :func:`geoseg.models.tensor_bundle.read_variables`.
    """
    variables = read_variables(contents[_INDEX], contents[_DATA])
    numbers = iter(range(len(variables)))
    state: dict[str, torch.Tensor] = dict(DynamicWorld(len(_LEGEND.classes)).state_dict())
    for module in _MODULES:
        for part in _PARTS["norm" if module.endswith("norm") else "conv"]:
            given = torch.from_numpy(variables[f"variables/{next(numbers)}/.ATTRIBUTES/VARIABLE_VALUE"])
            if given.ndim == 4:  # (y, x, in, out); of a depthwise one (y, x, in, 1)
                is_depthwise = given.shape[-1] == 1
                given = given.permute(2, 3, 0, 1) if is_depthwise else given.permute(3, 2, 0, 1)
            state[f"{module}.{part}"] = given
    return {name: tensor.contiguous().numpy() for name, tensor in state.items()}


@register_family("dynamic-world")
def dynamic_world(card: ModelCard) -> nn.Module:
    """The network of Dynamic World, untrained; it takes the nine bands of the built-in card and no others."""
    if card.bands != _BANDS:
        raise ModelError(
            f"{card.name} has the bands {', '.join(card.bands)}, "
            f"its family dynamic-world takes {', '.join(_BANDS)}."
        )
    return DynamicWorld(len(card.legend.classes))


def _class(value: int, name: str, color: str, description: str) -> LegendClass:
    return LegendClass(value=value, name=name, color_hint=color, description=description)


_LEGEND = Legend(
    classes=(
        _class(0, "water", "419BDF", "Rivers, lakes, ponds, sea, without plants or buildings."),
        _class(1, "trees", "397D49", "Forest, groves and plantations of trees."),
        _class(2, "grass", "88B053", "Meadows, pastures, lawns and other open grassland."),
        _class(3, "flooded_vegetation", "7A87C6", "Plants in standing water: mangroves, marshes, paddies."),
        _class(4, "crops", "E49635", "Planted fields of annual and perennial crops, also fallow ones."),
        _class(5, "shrub_and_scrub", "DFC35A", "Shrubs and sparse plants between bare ground or grass."),
        _class(6, "built", "C4281B", "Buildings, roads and other sealed ground."),
        _class(7, "bare", "A59B8F", "Rock, sand and soil with hardly any plants."),
        _class(8, "snow_and_ice", "B39FE1", "Lasting snow, glaciers, ice."),
    )
)

_PUBLISHED = PublishedWeights(
    # The files are the same at 0dd288fae5fb, the newest commit that was looked at.
    url="https://raw.githubusercontent.com/google/dynamicworld/94e73e713ee8693136f8c9e3d4fe57b4e67f0d7e/model/forward",
    files=(
        PublishedFile(
            path=f"variables/{_INDEX}",
            n_bytes=2631,
            sha256="f27000c6a3d7dcd3e76e333331b108697712c734d5d5ef11b3f34571027c8436",
        ),
        PublishedFile(
            path=f"variables/{_DATA}",
            n_bytes=964_710,
            sha256="c4a38299f2c0a741682cbe48810d55afdc832ff451e3d3708082751fe655fcb1",
        ),
    ),
    convert=state_of,
)

register_model(
    ModelCard(
        name="dynamic-world",
        title="Nine land-cover classes from Sentinel-2 at 10 m: Google's Dynamic World",
        description=(
            "The published network of Dynamic World (doi 10.1038/s41597-022-01307-4), made for cloud-free "
            "Sentinel-2 level-2A reflectance at 10 m anywhere in the world. Weak at telling grass, crops and "
            "shrub apart in a single image; clouds and their shadows get a class too, so mask them; roads, "
            "single trees and all that is much smaller than 50 m melt into their surroundings. Weights: "
            "github.com/google/dynamicworld, model/forward, fetched at first use; produced for the Dynamic "
            "World Project by Google in partnership with National Geographic and the World Resources "
            "Institute."
        ),
        family="dynamic-world",
        bands=_BANDS,
        gsd_m=10,
        gsd_range_m=(8, 20),
        tile_size=256,  # a third faster than 512 on a CPU, in a quarter of the memory
        tile_multiple=2,
        halo=22,
        legend=_LEGEND,
        license="Apache-2.0",
        sha256="0538a1026866867e38d4acc10660f9a17ab9c871e53537d1ccc2094b96226f58",
    ),
    weights=lambda card: cached_weights(card, _PUBLISHED),
)
