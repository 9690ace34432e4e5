"""What a place can be covered with, and which places there are: covers as mixtures, biomes as tables.

A pixel is a linear mixture of the materials of its cover (leaf and soil by cover fraction, shade between
crowns, dry matter by season; Small 2004, doi 10.1016/j.rse.2004.06.007). Classes are those of ESA WorldCover
(product user manual v2.0): below a tenth of vegetation it is bare, whatever it is called.
"""

from collections.abc import Mapping
from dataclasses import dataclass

SOIL = "soil"
"""Stands for the soils of the place."""


@dataclass(frozen=True)
class Cover:
    """What ground of one kind consists of."""

    class_name: str
    """Empty for what lies over any class, such as ash."""
    parts: Mapping[str, float]
    """Shares of materials or :data:`SOIL`, in any unit."""
    fall: float = 0.0
    """Share of its leaves that dry or drop in the dry season or winter."""
    dry: str = "straw"
    """What they become."""


def _cover(text: str) -> Cover:
    class_name, *words = text.split()
    pairs = dict(word.split("=") for word in words)
    fall, dry = float(pairs.pop("fall", 0)), pairs.pop("dry", "straw")
    return Cover(class_name.strip("-"), {name: float(share) for name, share in pairs.items()}, fall, dry)


COVERS = {
    name: _cover(text)
    for name, text in {
        "rainforest": "tree rainforest=80 shade=18 litter=2",
        "broadleaves": "tree broadleaf=75 shade=18 litter=7 fall=0.85 dry=bark",
        "conifers": "tree needleleaf=65 shade=25 litter=5 moss=5",
        "mixed_forest": "tree needleleaf=35 broadleaf=40 shade=20 litter=5 fall=0.4 dry=bark",
        "woodland": "tree sclerophyll=55 broadleaf=12 shade=13 straw=8 soil=12",
        "savanna_trees": "tree broadleaf=50 shade=10 green_grass=15 soil=12 litter=8 fall=0.6 dry=litter",
        "dry_forest": "tree broadleaf=45 bark=20 shade=15 litter=15 soil=5 fall=0.8 dry=bark",
        "thicket": "shrub bush=62 shade=8 soil=15 litter=15 fall=0.5 dry=litter",
        "maquis": "shrub sclerophyll=48 shade=7 soil=30 straw=15",
        "dry_shrub": "shrub bush=28 soil=50 litter=14 dry_grass=8 fall=0.5 dry=bark",
        "desert_shrub": "shrub bush=14 soil=70 litter=12 shade=4 fall=0.5 dry=bark",
        "meadow": "grass green_grass=88 soil=6 litter=6 fall=0.5 dry=straw",
        "pasture": "grass green_grass=60 dry_grass=20 soil=14 litter=6 fall=0.7 dry=dry_grass",
        "prairie": "grass green_grass=48 dry_grass=30 soil=22 fall=0.9 dry=straw",
        "dry_grassland": "grass dry_grass=45 straw=22 green_grass=8 soil=25 fall=0.9",
        "steppe_grass": "grass dry_grass=30 green_grass=8 straw=5 soil=57 fall=0.8",
        "tundra": "grass green_grass=28 moss=25 litter=32 soil=15 fall=0.7 dry=litter",
        "crop_green": "crop green_crop=90 soil=10",
        "crop_rows": "crop row_crop=70 soil=28 shade=2",
        "crop_sparse": "crop row_crop=32 soil=64 litter=4",
        "crop_ripe": "crop straw=68 soil=18 dry_grass=14",
        "crop_stubble": "crop straw=34 litter=8 soil=58",
        "crop_ploughed": "crop soil=95 litter=5",
        "crop_poor": "crop dry_grass=34 row_crop=14 soil=52",
        "crop_fodder": "crop green_grass=75 green_crop=15 soil=10",
        "crop_wet": "crop soil=62 mud=26 litter=8 row_crop=4",
        "orchard": "crop sclerophyll=36 soil=46 shade=6 straw=12",
        "paddy_wet": "crop turbid=55 mud=22 row_crop=23",
        "paddy_green": "crop green_crop=70 clear=20 mud=10",
        "centre": "built concrete=30 asphalt=24 grey_roof=20 tar_roof=12 metal_roof=4 shade=10",
        "blocks": "built concrete=24 asphalt=24 grey_roof=20 tile_roof=6 green_grass=8 broadleaf=12 shade=6",
        "suburb": "built asphalt=22 grey_roof=18 tile_roof=12 concrete=8 green_grass=20 broadleaf=20",
        "gardens": "built asphalt=20 grey_roof=12 tar_roof=8 broadleaf=34 green_grass=16 shade=10",
        "industry": "built metal_roof=22 white_roof=12 blue_roof=8 concrete=26 asphalt=26 grey_roof=6",
        "shanty": "built rust_roof=34 metal_roof=8 soil=30 grey_roof=12 litter=6 shade=5 broadleaf=5",
        "desert_town": "built adobe=26 concrete=20 asphalt=18 tar_roof=8 soil=10 white_roof=5 shade=13",
        "village": "built tile_roof=18 rust_roof=8 grey_roof=12 asphalt=16 green_grass=20 broadleaf=18",
        "road": "built asphalt=85 concrete=15",
        "bare_soil": "bare soil=97 dry_grass=3",
        "semidesert": "bare soil=88 bush=4 dry_grass=5 litter=3 fall=0.6 dry=bark",
        "quartz_dunes": "bare quartz_sand=95 pavement=5",
        "red_dunes": "bare red_sand=93 pavement=4 dry_grass=3",
        "white_sand": "bare pale_sand=70 gypsum=28 soil=2",
        "stone_desert": "bare pavement=65 soil=25 shale=10",
        "granite_rock": "bare granite=80 soil=12 shade=8",
        "limestone_rock": "bare limestone=82 soil=12 shade=6",
        "shale_rock": "bare shale=80 soil=12 shade=8",
        "lava": "bare basalt=94 soil=6",
        "salt_crust": "bare salt=85 mud=5 loess=10",
        "wet_salt_flat": "bare wet_salt=75 mud=15 salt=10",
        "mudflat": "bare mud=82 turbid=12 pale_sand=6",
        "beach": "bare pale_sand=60 quartz_sand=30 mud=10",
        "gravel_bar": "bare granite=50 quartz_sand=25 mud=15 soil=10",
        "lake": "water clear=100",
        "shoal": "water shallow=80 clear=20",
        "silt": "water turbid=85 clear=15",
        "mud_water": "water muddy=75 turbid=25",
        "bloom": "water algae=85 clear=15",
        "bog_lake": "water humic=92 clear=8",
        "brine": "water shallow=55 turbid=30 wet_salt=15",
        "marsh": "wetland reed=62 clear=14 mud=10 litter=14 fall=0.6 dry=litter",
        "dry_marsh": "wetland reed=50 litter=28 dry_grass=14 mud=8 fall=0.7 dry=litter",
        "fen": "wetland reed=40 moss=26 litter=14 humic=12 green_grass=8 fall=0.5 dry=litter",
        "salt_marsh": "wetland reed=42 mud=28 dry_grass=18 turbid=12",
        "flooded_meadow": "wetland green_grass=44 reed=22 turbid=20 mud=14 fall=0.4 dry=litter",
        "ash": "- char=80 soil=12 litter=8",
    }.items()
}


@dataclass(frozen=True)
class Biome:
    """What occurs together."""

    weight: float
    """How often it is drawn, against the others."""
    nature: tuple[str, ...]
    """Covers of open land, of which a scene takes one to four."""
    soils: tuple[str, ...]
    crops: tuple[str, ...] = ()
    farmed: float = 0.0
    """Largest share of fields."""
    pivot: float = 0.0
    """How often the fields are round."""
    towns: tuple[str, ...] = ()
    town: float = 0.0
    """Largest share of towns."""
    waters: tuple[str, ...] = ("lake",)
    wet: float = 0.1
    """Largest share of lakes or sea."""
    river: float = 0.15
    """How often a river runs through."""
    shores: tuple[str, ...] = ()
    """Covers between water and land."""
    relief: float = 0.1
    """Largest standard deviation of the slope."""
    green: tuple[float, float] = (0.0, 1.0)
    """Season: 0 is dry or winter, 1 is the height of growth."""


_TOWNS = ("suburb", "gardens", "blocks", "village", "industry")
_TEMPERATE_CROPS = (
    "crop_green", "crop_rows", "crop_sparse", "crop_ripe", "crop_stubble", "crop_ploughed", "crop_fodder",
    "crop_wet",
)  # fmt: skip

BIOMES = {
    "rainforest": Biome(
        1.0, ("rainforest", "rainforest", "thicket", "pasture"), ("red_soil", "brown_soil"),
        ("crop_rows", "crop_sparse", "crop_fodder"), 0.3, towns=("shanty", "village"), town=0.06,
        waters=("mud_water", "silt", "bog_lake"), river=0.45, shores=("marsh",), relief=0.25, green=(0.5,
        1.0),
    ),
    "farmland": Biome(
        2.2, ("broadleaves", "mixed_forest", "meadow", "pasture"), ("brown_soil", "loess", "black_soil"),
        _TEMPERATE_CROPS, 0.9, towns=_TOWNS, town=0.15, waters=("silt", "bloom", "lake"), river=0.2,
        shores=("marsh", "flooded_meadow"),
    ),
    "prairie": Biome(
        1.6, ("prairie", "dry_grassland", "pasture", "dry_shrub"), ("brown_soil", "loess", "black_soil"),
        (*_TEMPERATE_CROPS, "crop_poor"), 0.8, 0.4, ("suburb", "village", "industry"), 0.1,
        ("silt", "bloom", "mud_water"), 0.08, shores=("marsh", "gravel_bar"),
    ),
    "boreal": Biome(
        1.1, ("conifers", "mixed_forest", "fen", "tundra", "thicket"), ("brown_soil", "black_soil",
        "granite"),
        ("crop_green", "crop_fodder", "crop_ploughed"), 0.2, towns=("village", "suburb"), town=0.05,
        waters=("bog_lake", "lake"), wet=0.35, shores=("fen", "marsh"), relief=0.2,
    ),
    "mediterranean": Biome(
        1.3, ("woodland", "maquis", "dry_grassland", "dry_shrub"), ("loess", "red_soil", "limestone"),
        ("orchard", "crop_ripe", "crop_stubble", "crop_ploughed", "crop_rows"), 0.7,
        towns=("village", "blocks", "suburb"), town=0.15, shores=("limestone_rock", "beach"), relief=0.35,
    ),
    "savanna": Biome(
        1.4, ("savanna_trees", "dry_forest", "dry_grassland", "prairie", "thicket", "dry_shrub"),
        ("red_soil", "brown_soil", "loess"), ("crop_poor", "crop_sparse", "crop_rows", "crop_ploughed"), 0.5,
        towns=("shanty", "desert_town"), town=0.08, waters=("mud_water", "silt"), shores=("flooded_meadow",),
    ),
    "steppe": Biome(
        2.2, ("steppe_grass", "semidesert", "desert_shrub", "dry_shrub", "dry_grassland", "semidesert"),
        ("steppe_soil", "pavement", "brown_soil", "loess", "shale"), ("crop_green", "crop_poor",
        "crop_stubble"),
        0.15, 0.5, ("desert_town", "industry"), 0.04, ("silt", "lake"), 0.05,
        shores=("gravel_bar", "salt_marsh", "salt_crust"), relief=0.25,
    ),
    "desert": Biome(
        2.0,
        ("quartz_dunes", "red_dunes", "stone_desert", "granite_rock", "limestone_rock", "shale_rock", "lava",
         "semidesert", "bare_soil", "desert_shrub"),
        ("quartz_sand", "pavement", "loess", "granite", "shale", "red_sand", "limestone"),
        ("crop_green", "crop_rows", "crop_sparse"), 0.25, 0.7, ("desert_town", "industry"), 0.12,
        ("silt", "lake", "shoal"), 0.06, shores=("bare_soil", "gravel_bar"), relief=0.4,
    ),
    "salt_pan": Biome(
        0.7, ("salt_crust", "wet_salt_flat", "white_sand", "bare_soil", "mudflat", "salt_marsh"),
        ("loess", "pavement", "quartz_sand"), waters=("brine", "lake", "shoal", "bloom"), wet=0.5,
        towns=("industry", "desert_town"), town=0.03, shores=("wet_salt_flat", "salt_crust"), relief=0.03,
    ),
    "mountains": Biome(
        0.9, ("conifers", "granite_rock", "shale_rock", "tundra", "meadow", "limestone_rock", "lava"),
        ("granite", "shale", "limestone"), ("crop_fodder", "crop_ploughed"), 0.06, towns=("village",),
        town=0.03,
        river=0.3, shores=("gravel_bar",), relief=0.6,
    ),
    "coast": Biome(
        1.4, ("broadleaves", "thicket", "pasture", "maquis", "dry_grassland", "rainforest", "semidesert"),
        ("quartz_sand", "brown_soil", "limestone"), ("crop_rows", "crop_ploughed", "crop_green"), 0.3,
        towns=("blocks", "suburb", "desert_town", "centre"), town=0.35,
        waters=("lake", "shoal", "silt", "bloom"), wet=0.7, shores=("beach", "mudflat", "salt_marsh"),
    ),
    "delta": Biome(
        1.3, ("marsh", "flooded_meadow", "dry_marsh", "salt_marsh", "pasture", "fen"), ("black_soil", "mud"),
        ("paddy_wet", "crop_wet", "paddy_green", "crop_green", "crop_ploughed", "crop_rows"), 0.6,
        towns=("village", "shanty", "suburb"), town=0.1, waters=("silt", "mud_water", "bloom"), wet=0.35,
        river=0.5, shores=("marsh", "mudflat", "salt_marsh", "flooded_meadow"), relief=0.02,
    ),
    "metropolis": Biome(
        1.8, ("broadleaves", "meadow", "pasture", "thicket", "bare_soil", "dry_grassland"),
        ("brown_soil", "loess", "red_soil"), _TEMPERATE_CROPS, 0.3,
        towns=("centre", "blocks", "suburb", "gardens", "industry", "shanty"), town=0.9,
        waters=("silt", "lake", "bloom"), river=0.35, shores=("meadow",),
    ),
}  # fmt: skip
