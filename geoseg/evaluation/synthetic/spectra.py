"""What the ground reflects: mean spectra of materials over the bands, and how a material varies.

The numbers are rounded by hand from what is published on each kind of ground, not copied from one library:

- soils: the five shapes of Stoner and Baumgardner 1981 (doi 10.2136/sssaj1981.03615995004500060031x), the
  soil line of Baret et al. 1993 and the low dimension of soil spectra of Price 1990
  (doi 10.1016/0034-4257(90)90023-O); water darkens them, most in the short-wave infrared (Lobell and Asner
  2002, doi 10.2136/sssaj2002.7220);
- leaves, litter, sands, rocks, roofs: Bowker et al. 1985 (NASA RP-1139), ranges of the USGS and ECOSTRESS
  libraries (Kokaly et al. 2017, doi 10.3133/ds1035; Meerdink et al. 2019, doi 10.1016/j.rse.2019.05.015);
- canopies are darker than leaves by shade between crowns, hence the material ``shade``; dry matter lacks the
  red edge and has cellulose and lignin at 2.2 µm (Nagler et al. 2003, doi 10.1016/j.rse.2003.06.002);
- towns are mixtures of bright and dark substrate, vegetation and shade (Ridd 1995; Small 2003,
  doi 10.1016/j.rse.2003.04.008);
- water: blue and clear, brown by sediment, green by algae (Moore et al. 2014, doi 10.1016/j.rse.2013.11.021).
"""

import numpy as np
from numpy.typing import NDArray

Spectrum = NDArray[np.float64]
"""(band,) in the order of :data:`BANDS`."""

BANDS = (
    "blue", "green", "red", "rededge071", "rededge075", "rededge078", "nir", "nir08", "swir16", "swir22",
)  # fmt: skip
WAVELENGTHS_UM = np.array([0.49, 0.56, 0.665, 0.705, 0.74, 0.783, 0.842, 0.865, 1.61, 2.2])

_TABLE = """
leaf   rainforest    1.8  3.8  1.9  6.2 20.0 26.0 29.5 30.0 13.0  5.2
leaf   broadleaf     2.3  4.8  2.8  8.4 24.0 31.0 35.0 35.5 17.5  8.0
leaf   needleleaf    1.6  3.0  2.0  4.8 13.0 16.5 18.5 19.0  9.0  4.0
leaf   sclerophyll   2.9  5.0  4.3  8.8 17.5 20.5 23.0 23.6 17.0  9.0
leaf   bush          3.0  5.8  4.5  9.4 22.0 26.5 29.5 30.0 20.0 11.0
leaf   green_grass   3.4  7.2  4.6 10.8 28.0 34.5 38.0 38.6 21.0 10.5
leaf   green_crop    3.0  7.0  3.6 10.4 34.0 43.0 47.0 47.5 20.0  9.2
leaf   row_crop      2.9  6.3  3.7  9.6 28.0 36.0 40.0 40.5 18.0  8.0
leaf   reed          2.4  4.6  3.9  7.8 18.5 22.8 25.5 26.0 16.0  7.6
leaf   moss          3.4  6.4  6.4 10.6 17.0 20.0 23.0 23.4 12.5  6.0
dry    straw         8.5 13.0 18.0 21.0 25.0 28.0 31.0 32.0 37.0 27.0
dry    dry_grass     5.6  8.8 13.0 15.6 18.8 21.2 24.0 25.0 31.0 23.0
dry    litter        4.4  6.6  9.4 11.6 14.6 17.0 19.6 20.4 26.0 18.0
dry    bark          3.6  5.0  6.4  8.0 10.6 12.6 15.0 15.6 17.5 11.5
dark   char          2.8  3.4  4.0  4.6  5.4  6.0  6.8  7.0  9.6  8.8
dark   shade         0.9  0.9  0.6  0.9  1.9  2.3  2.6  2.7  1.3  0.7
soil   black_soil    4.2  5.8  7.6  8.6  9.8 10.8 12.0 12.4 18.0 16.0
soil   brown_soil    6.2  9.4 13.2 15.0 16.8 18.4 20.2 20.8 28.5 25.0
soil   loess        11.5 17.4 23.6 26.0 28.4 30.0 32.0 32.6 41.0 37.0
soil   red_soil      4.0  7.0 15.5 18.0 20.0 21.0 22.5 23.2 31.0 26.0
soil   steppe_soil   6.8  8.8 11.0 12.0 12.9 13.7 14.7 15.0 21.8 19.2
soil   quartz_sand  13.5 21.5 31.0 34.0 37.0 38.5 41.0 41.5 50.5 47.0
soil   red_sand      8.0 14.0 29.0 33.0 36.5 38.0 40.5 41.0 51.0 48.0
soil   pale_sand    25.0 33.0 40.0 42.5 45.0 46.0 47.5 48.0 52.0 46.0
soil   pavement      7.0 10.0 14.0 15.5 17.0 18.0 19.5 20.0 25.5 23.0
soil   granite      13.0 16.0 19.0 20.0 21.3 22.2 23.4 23.7 28.0 25.5
soil   limestone    20.0 25.0 29.5 31.0 32.5 33.4 34.6 35.0 39.0 33.0
soil   shale         8.6 10.6 12.6 13.4 14.2 14.8 15.6 15.8 20.0 18.0
soil   basalt        4.6  5.2  5.8  6.2  6.6  7.0  7.4  7.5  9.6  9.4
soil   mud           6.2  7.8  9.2  9.6 10.0 10.2 10.4 10.4  6.5  4.0
salt   salt         46.0 51.0 54.0 54.6 55.0 55.0 55.2 55.2 40.0 29.0
salt   wet_salt     26.0 30.0 32.0 32.0 31.5 31.0 30.0 29.5  8.0  4.5
salt   gypsum       48.0 54.0 58.0 59.5 60.5 61.0 61.5 61.5 46.0 28.0
built  asphalt       7.0  8.0  9.0  9.5 10.0 10.4 10.9 11.1 13.0 12.4
built  concrete     16.0 19.0 21.5 22.5 23.5 24.2 25.0 25.3 28.5 27.0
built  tar_roof      4.4  4.9  5.3  5.6  5.9  6.1  6.4  6.5  8.2  8.2
built  grey_roof     8.4  9.6 10.6 11.0 11.4 11.7 12.2 12.4 15.0 14.4
built  tile_roof     6.8  9.6 18.0 21.0 23.5 25.0 26.8 27.4 34.0 31.0
built  metal_roof   33.0 35.0 37.0 37.8 38.4 38.8 39.2 39.4 42.0 38.0
built  white_roof   52.0 56.0 58.0 58.5 59.0 59.0 59.0 59.0 50.0 38.0
built  blue_roof    23.0 22.0 16.0 15.5 17.5 20.5 23.0 23.6 27.0 24.0
built  rust_roof     7.0  9.2 14.5 17.0 19.0 20.0 21.5 22.0 27.5 25.5
built  adobe        11.0 15.5 20.0 22.0 24.0 25.2 26.8 27.4 34.5 31.5
water  clear         2.6  2.2  0.7  0.5  0.4  0.3  0.3  0.2  0.1  0.1
water  shallow       8.5  9.5  4.4  2.2  1.1  1.0  0.9  0.8  0.4  0.3
water  turbid        4.8  8.2  9.6  8.6  5.2  5.0  4.4  4.2  0.9  0.6
water  muddy         8.2 12.8 16.8 16.6 12.0 11.2 10.0  9.6  1.8  1.0
water  algae         2.7  5.8  3.2  4.4  2.8  2.5  2.1  2.0  0.8  0.5
water  humic         1.2  1.6  1.4  1.4  1.0  0.9  0.9  0.8  0.5  0.3
"""
"""Kind, name, reflectance in % in the order of :data:`BANDS`."""

_ROWS = [line.split() for line in _TABLE.split("\n") if line]
KINDS = {name: kind for kind, name, *_ in _ROWS}
MATERIALS = {name: np.array([float(v) for v in values]) / 100 for _, name, *values in _ROWS}

_DIRECTIONS = {
    "brightness": np.ones(10),
    "slope": np.log(WAVELENGTHS_UM / 0.8),
    "curve": np.array([0.8, 0.2, -0.5, -0.6, -0.6, -0.5, -0.4, -0.3, 0.6, 0.6]),
    "wetness": -np.array([0.5, 0.5, 0.55, 0.55, 0.55, 0.6, 0.6, 0.6, 1.1, 1.4]),
    "chlorophyll": -np.array([0.6, 0.8, 1.0, 0.8, 0.25, 0.05, 0, 0, 0, 0]),
    "structure": np.array([0.1, 0.2, 0.0, 0.3, 0.8, 0.9, 1.0, 1.0, 0.3, 0.0]),
    "sediment": np.array([0.4, 0.7, 1.0, 1.1, 1.3, 1.3, 1.4, 1.4, 1.0, 1.0]),
}
"""What the logarithm of a spectrum varies along."""

_SPREADS = {
    "leaf": {"brightness": 0.10, "slope": 0.08, "wetness": 0.16, "chlorophyll": 0.22, "structure": 0.16},
    "dry": {"brightness": 0.18, "slope": 0.10, "wetness": 0.12, "curve": 0.05},
    "dark": {"brightness": 0.30, "slope": 0.15},
    "soil": {"brightness": 0.18, "slope": 0.14, "wetness": 0.12, "curve": 0.06},
    "salt": {"brightness": 0.14, "slope": 0.05, "wetness": 0.35},
    "built": {"brightness": 0.20, "slope": 0.10, "curve": 0.08},
    "water": {"brightness": 0.20, "slope": 0.12, "sediment": 0.25},
}
"""Standard deviations along the directions, by kind of material."""


def draw_spectrum(material: str, rng: np.random.Generator) -> Spectrum:
    """Reflectance of a material as one place has it, drawn about its mean."""
    spread = _SPREADS[KINDS[material]]
    steps = [rng.normal(0, size) * _DIRECTIONS[name] for name, size in spread.items()]
    found: Spectrum = MATERIALS[material] * np.exp(np.sum(steps, axis=0))
    return found


def path_reflectance(amount: float, exponent: float) -> Spectrum:
    """What the air adds: ``amount`` in blue, falling with wavelength by Ångström's law.

    Top-of-atmosphere values have about 0.05 to 0.1 in blue, with an exponent of 4 for air alone and 1 to 2
    for haze (Chavez 1988, doi 10.1016/0034-4257(88)90019-3).
    """
    found: Spectrum = amount * (WAVELENGTHS_UM / WAVELENGTHS_UM[0]) ** -exponent
    return found
