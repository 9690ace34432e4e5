"""Land-cover products that cover every pixel of a region: what their values mean and where they are.

They are maps with errors of their own (WorldCover 2021: overall accuracy 76.7 %, by its makers), so a
comparison with one says how far two maps agree, not how right one is. For accuracy and areas, label a sample.

To compare a map with one, name it: ``geoseg evaluate --prediction class.tif --reference worldcover``
(:mod:`geoseg.evaluation.products`). Where no public catalog has it, give its file as any class raster.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from geoseg.errors import EvaluationError
from geoseg.evaluation.maps import IGNORE, Compared, Crosswalk
from geoseg.legend import Legend, LegendClass

_PLANETARY_COMPUTER = "planetary-computer"
_TERRASCOPE = "https://services.terrascope.be/stac/"


@dataclass(frozen=True)
class StacSource:
    """Where a product is found by STAC."""

    api: str
    """See :func:`geoseg.stac.catalog.load_catalog`."""
    collection: str
    asset: str
    """Key of the asset with the classes; one layer."""


@dataclass(frozen=True)
class Product:
    """A wall-to-wall class map as its makers publish it."""

    name: str
    title: str
    legend: Legend
    """Its own values, not 0, 1, 2 ..."""
    nodata: tuple[int, ...]
    """Values that are no class; files mark one of them as nodata, if any."""
    gsd_m: float
    years: tuple[int, ...]
    license: str
    stac: tuple[StacSource, ...]
    """Empty where no public STAC API has it."""
    files: str
    """Where its files are, with ``{placeholders}``, and what reading them takes."""
    dynamic_world: Mapping[int, str]
    """Dynamic World's class for each value; ``ignore`` where the definitions straddle its classes."""
    source: str
    """What values, names and colours were taken from."""


def crosswalk(product: Product, classes: Mapping[int, str]) -> Crosswalk:
    """The crosswalk from a product to the classes of a comparison.

    Args:
        product: the reference.
        classes: the class for each of its values, or ``ignore``.

    Raises:
        EvaluationError: a value of the product has no class, or a value is not the product's.

    Example:
        >>> water = {value: "land" for value in PRODUCTS["esa-worldcover"].legend.values} | {80: "water"}
        >>> crosswalk(PRODUCTS["esa-worldcover"], water).reference["80"]
        'water'
    """
    wanting = sorted(set(product.legend.values) ^ set(classes))
    if wanting:
        what = "is none of its values" if wanting[0] in classes else "has no class"
        raise EvaluationError(
            f"{product.title}: {wanting[0]} {what}. Give a class or {IGNORE!r} for each of "
            f"{', '.join(map(str, product.legend.values))}."
        )
    reference = {str(value): IGNORE for value in product.nodata}
    return Crosswalk(reference=reference | {str(value): classes[value] for value in product.legend.values})


def crosswalk_of(product: Product, classes: Compared, given: Crosswalk) -> tuple[Crosswalk, tuple[str, ...]]:
    """The crosswalk by which a product is compared with a map, and what was decided.

    What is given, if it says something of the reference; else by name; else, where the map has
    Dynamic World's classes, by :attr:`Product.dynamic_world`.

    Raises:
        EvaluationError: nothing says which class of the map the product's classes belong to.
    """
    names = {c.name for c in classes.legend.classes}
    own = [c.name for c in product.legend.classes]
    if given.reference or names & set(own):
        return given, ()
    if set(product.dynamic_world.values()) - {IGNORE} <= names:
        found = crosswalk(product, product.dynamic_world)
        note = f"Classes of {product.title} were taken as those of Dynamic World that they are nearest to."
        return found.model_copy(update={"prediction": given.prediction}), (note,)
    raise EvaluationError(
        f"{product.title} has the classes {', '.join(own)}; the map has {', '.join(sorted(names))}. Say "
        f'which is which in a --crosswalk: [reference] with "{own[0]}" = a class of the map, or "{IGNORE}".'
    )


def _legend_of(lines: str) -> Legend:
    """A legend from lines ``value RRGGBB name``."""
    rows = (line.split(maxsplit=2) for line in lines.strip().splitlines())
    return Legend(
        classes=tuple(
            LegendClass(value=int(value), color_hint=color, name=name) for value, color, name in rows
        )
    )


_WORLDCOVER = Product(
    name="esa-worldcover",
    title="ESA WorldCover",
    legend=_legend_of("""
        10 006400 Tree cover
        20 FFBB22 Shrubland
        30 FFFF4C Grassland
        40 F096FF Cropland
        50 FA0000 Built-up
        60 B4B4B4 Bare / sparse vegetation
        70 F0F0F0 Snow and ice
        80 0064C8 Permanent water bodies
        90 0096A0 Herbaceous wetland
        95 00CF75 Mangroves
        100 FAE6A0 Moss and lichen
    """),
    nodata=(0,),
    gsd_m=10,
    years=(2020, 2021),
    license="CC BY 4.0",
    stac=(
        StacSource(_PLANETARY_COMPUTER, "esa-worldcover", "map"),
        StacSource(_TERRASCOPE, "urn:eop:VITO:ESA_WorldCover_10m_2021_AWS_V2", "ESA_WORLDCOVER_10M_MAP"),
        StacSource(_TERRASCOPE, "urn:eop:VITO:ESA_WorldCover_10m_2020_AWS_V1", "ESA_WORLDCOVER_10M_MAP"),
    ),
    files=(
        "s3://esa-worldcover/v200/2021/map/ESA_WorldCover_10m_2021_v200_{tile}_Map.tif (eu-central-1, no "
        "account needed; tiles of 3 degrees by their south-west corner, such as N48E015; v100/2020 and "
        "2020_v100 for 2020)"
    ),
    dynamic_world={
        10: "trees", 20: "shrub_and_scrub", 30: "grass", 40: "crops", 50: "built", 60: "bare",
        70: "snow_and_ice", 80: "water", 90: "flooded_vegetation", 95: "trees", 100: IGNORE,
    },
    source="Planetary Computer, collection esa-worldcover, classification:classes of its item_assets",
)  # fmt: skip

_NLCD = Product(
    name="nlcd",
    title="USGS National Land Cover Database",
    legend=_legend_of("""
        11 466B9F Open Water
        12 D1DEF8 Perennial Ice/Snow
        21 DEC5C5 Developed, Open Space
        22 D99282 Developed, Low Intensity
        23 EB0000 Developed, Medium Intensity
        24 AB0000 Developed, High Intensity
        31 B3AC9F Barren Land
        41 68AB5F Deciduous Forest
        42 1C5F2C Evergreen Forest
        43 B5C58F Mixed Forest
        52 CCB879 Shrub/Scrub
        71 DFDFC2 Grassland/Herbaceous
        81 DCD939 Pasture/Hay
        82 AB6C28 Cultivated Crops
        90 B8D9EB Woody Wetlands
        95 6C9FB8 Emergent Herbaceous Wetlands
    """),
    nodata=(0, 250),
    gsd_m=30,
    years=(2001, 2004, 2006, 2008, 2011, 2013, 2016, 2019, 2021),
    license="US public domain",
    stac=(),
    files=(
        "https://www.mrlc.gov/data (zip). The annual product from 1985 on has the same classes, nodata 250: "
        "s3://usgs-landcover/annual-nlcd/c1/v1/cu/mosaic/Annual_NLCD_LndCov_{year}_CU_C1V1.tif (us-west-2, "
        "the reader pays)"
    ),
    dynamic_world={
        11: "water", 12: "snow_and_ice", 21: IGNORE, 22: "built", 23: "built", 24: "built", 31: "bare",
        41: "trees", 42: "trees", 43: "trees", 52: "shrub_and_scrub", 71: "grass", 81: IGNORE, 82: "crops",
        90: IGNORE, 95: "flooded_vegetation",
    },
    source=(
        "legend of the 2021 release (Earth Engine's catalog, USGS/NLCD_RELEASES/2021_REL/NLCD), that of 2019 "
        "(github.com/stactools-packages/usgs-nlcd), of the annual product (torchgeo 0.8.1, datasets/nlcd.py)"
    ),
)  # fmt: skip

_LCMAP = Product(
    name="usgs-lcmap",
    title="USGS LCMAP CONUS Collection 1.3, primary land cover",
    legend=_legend_of("""
        1 FF3232 Developed
        2 BE8C5A Cropland
        3 E6F0D2 Grass/Shrub
        4 1C6330 Tree Cover
        5 0070FF Water
        6 B3D9FF Wetlands
        7 FFFFFF Snow/Ice
        8 B3AEA3 Barren
    """),
    nodata=(0,),
    gsd_m=30,
    years=tuple(range(1985, 2022)),
    license="US public domain",
    stac=(StacSource(_PLANETARY_COMPUTER, "usgs-lcmap-conus-v13", "lcpri"),),
    files="https://www.usgs.gov/special-topics/lcmap/lcmap-data-access",
    dynamic_world={
        1: "built", 2: "crops", 3: IGNORE, 4: "trees", 5: "water", 6: "flooded_vegetation",
        7: "snow_and_ice", 8: "bare",
    },
    source="Planetary Computer, collection usgs-lcmap-conus-v13, classification:classes of lcpri",
)  # fmt: skip

PRODUCTS: Mapping[str, Product] = {product.name: product for product in (_WORLDCOVER, _NLCD, _LCMAP)}
"""By name."""
