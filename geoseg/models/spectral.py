"""Rule models: classes from spectral indices, with no weights and no training.

They are a baseline that anyone can check by hand. Indices of surface or top-of-atmosphere reflectance:

- NDVI = (nir - red) / (nir + red)        Rouse et al. 1974, NASA SP-351
- NDWI = (green - nir) / (green + nir)    McFeeters 1996, doi 10.1080/01431169608948714
- NDBI = (swir16 - nir) / (swir16 + nir)  Zha et al. 2003, doi 10.1080/01431160304987
"""

import torch
from torch import nn

from geoseg.legend import Legend, LegendClass
from geoseg.models.card import ModelCard
from geoseg.models.zoo import register_family, register_model

_SHARPNESS = 20.0
"""Logits per unit of index: a lead of 0.1 over the next class gives a confidence of about 0.88."""
_WATER_NDWI = 0.12
"""Haze over a city reaches 0.1; open water starts higher."""
_GREEN_NDVI = 0.36
_BARE_NDVI, _BARE_NDBI = 0.13, 0.16
"""Ground without any green, or brighter in the short-wave infrared than settlements are, counts as bare.
Towns mix roofs with gardens: NDVI 0.13 to 0.36, NDBI -0.1 to 0.16 over Olinda; Patagonian steppe has NDVI
0.04 to 0.12 with the same NDBI."""
_DARK = 1e-3
"""Sums of two reflectances below this say nothing about colour; they are taken as this."""

_WATER = LegendClass(value=0, name="water", color_hint="1F78B4", description="Open water.")
_VEGETATION = LegendClass(
    value=1, name="vegetation", color_hint="33A02C", description="Green plants of any height."
)


def _index(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The normalised difference (a - b) / (a + b), within -1..1."""
    return ((a - b) / (a + b).clamp_min(_DARK)).clamp(-1.0, 1.0)


class SpectralRules(nn.Module):
    """Water, vegetation, bare ground and built-up land from NDWI, NDVI and NDBI."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Reflectance (n, 4, y, x) of green, red, nir, swir16 to logits (n, 4, y, x)."""
        green, red, nir, swir16 = pixels.unbind(1)  # each (n, y, x)
        ndvi, ndwi, ndbi = _index(nir, red), _index(green, nir), _index(swir16, nir)
        water = ndwi - _WATER_NDWI
        vegetation = ndvi - _GREEN_NDVI
        dry = torch.minimum(_GREEN_NDVI - ndvi, _WATER_NDWI - ndwi)
        barren = torch.maximum(_BARE_NDVI - ndvi, ndbi - _BARE_NDBI)
        bare, built = torch.minimum(dry, barren), torch.minimum(dry, -barren)
        return _SHARPNESS * torch.stack([water, vegetation, bare, built], 1)  # (n, class, y, x)


class VnirRules(nn.Module):
    """Water, vegetation and the rest from NDWI and NDVI, for sensors without short-wave infrared."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Reflectance (n, 3, y, x) of green, red, nir to logits (n, 3, y, x)."""
        green, red, nir = pixels.unbind(1)
        ndvi, ndwi = _index(nir, red), _index(green, nir)
        water, vegetation = ndwi - _WATER_NDWI, ndvi - _GREEN_NDVI
        rest = torch.minimum(-vegetation, -water)
        return _SHARPNESS * torch.stack([water, vegetation, rest], 1)  # (n, class, y, x)


@register_family("spectral-rules")
def spectral_rules(card: ModelCard) -> nn.Module:
    """The four-class rules; bands and classes are those of the built-in card."""
    return SpectralRules()


@register_family("spectral-rules-vnir")
def vnir_rules(card: ModelCard) -> nn.Module:
    """The three-class rules; bands and classes are those of the built-in card."""
    return VnirRules()


register_model(
    ModelCard(
        name="spectral-rules",
        title="Water, vegetation, bare and built-up land by spectral indices",
        description=(
            "Fixed thresholds on NDWI, NDVI and NDBI of each pixel by itself. Good at open water and green "
            "vegetation; bare and built-up land overlap in these indices and are often confused; shadows and "
            "wet dark roofs look like water; dry grass counts as bare. Needs no weights."
        ),
        family="spectral-rules",
        bands=("green", "red", "nir", "swir16"),
        gsd_m=10,
        gsd_range_m=(0.5, 500),
        tile_size=1024,
        halo=0,
        legend=Legend(
            classes=(
                _WATER,
                _VEGETATION,
                LegendClass(
                    value=2, name="bare", color_hint="E6C27A", description="Soil, sand, rock, dry grass."
                ),
                LegendClass(
                    value=3, name="built", color_hint="D7191C", description="Roofs, roads, dense settlement."
                ),
            )
        ),
        license="Apache-2.0",
    )
)

register_model(
    ModelCard(
        name="spectral-rules-vnir",
        title="Water, vegetation and other land by spectral indices, without short-wave infrared",
        description=(
            "As spectral-rules, but bare and built-up land are one class: without short-wave infrared they "
            "cannot be told apart."
        ),
        family="spectral-rules-vnir",
        bands=("green", "red", "nir"),
        gsd_m=10,
        gsd_range_m=(0.2, 500),
        tile_size=1024,
        halo=0,
        legend=Legend(
            classes=(
                _WATER,
                _VEGETATION,
                LegendClass(
                    value=2, name="other", color_hint="C9B79C", description="Soil, rock, roofs, roads."
                ),
            )
        ),
        license="Apache-2.0",
    )
)
