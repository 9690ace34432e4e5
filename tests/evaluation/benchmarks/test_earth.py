"""Earth-observation benchmarks: miniatures in the layout of the real data sets, with what labels must become.

Tables of label numbers and colours stand here once more, as the data sets' own tools have them, so that a slip
in a benchmark's file is met by another hand.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from PIL import Image
from rasterio.windows import Window

from geoseg.errors import EvaluationError
from geoseg.evaluation import label_rasters, wall_to_wall
from geoseg.evaluation.benchmark import BENCHMARKS, check
from geoseg.evaluation.confusion import IGNORED
from geoseg.evaluation.label_files import lookup
from geoseg.evaluation.maps import compared
from geoseg.evaluation.references import raster_reference
from geoseg.legend import Legend, LegendClass
from geoseg.stac.metadata import COMMON_NAMES

X = 255
H, W = 6, 9
Expected = dict[str, dict[str, np.ndarray | None]]
"""By split and id; None where labels are held back."""


def draw(values: list[int], *, seed: int = 0, shape: tuple[int, int] = (H, W)) -> np.ndarray:
    """Stored numbers in which each of ``values`` occurs."""
    numbers = np.random.default_rng(seed).choice(values, shape)
    numbers.ravel()[: len(values)] = values
    return numbers


def image(n_bands: int = 3, dtype: str = "uint8", shape: tuple[int, int] = (H, W)) -> np.ndarray:
    return np.random.default_rng(n_bands).integers(0, 200, (n_bands, *shape)).astype(dtype)


def tif(path: Path, pixels: np.ndarray, names: tuple[str, ...] = (), **profile: object) -> np.ndarray:
    pixels = pixels if pixels.ndim == 3 else pixels[None]
    count, height, width = pixels.shape
    placed = {"crs": "EPSG:32632", "transform": Affine(10, 0, 500_000, 0, -10, 5_000_000)}
    settings = {"driver": "GTiff", "dtype": pixels.dtype, **placed, **profile}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", count=count, height=height, width=width, **settings) as file:
        file.write(pixels)
        for number, name in enumerate(names, 1):
            file.set_band_description(number, name)
    return pixels


def picture(path: Path, pixels: np.ndarray) -> np.ndarray:
    """A PNG or JPEG of (y, x) numbers or (3, y, x) colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels if pixels.ndim == 2 else np.moveaxis(pixels, 0, -1)).save(path)
    return pixels


def painted(labels: np.ndarray, colors: list[tuple[int, int, int]]) -> np.ndarray:
    """(3, y, x) with the colour of each label."""
    return np.moveaxis(np.array(colors, np.uint8)[labels], -1, 0)


def loveda(root: Path) -> Expected:
    meant = np.array([X, 0, 1, 2, 3, 4, 5, 6])
    found: Expected = {"train": {}, "val": {}, "test": {}}
    for seed, (split, scene, number) in enumerate(
        (s, c, n) for s in found for c in ("Urban", "Rural") for n in ("7", "12")
    ):
        folder = root / split.capitalize() / scene
        name = f"{number}{seed}"
        picture(folder / "images_png" / f"{name}.png", image())
        stored = draw(list(range(8)), seed=seed).astype(np.uint8)
        if split != "test":
            picture(folder / "masks_png" / f"{name}.png", stored)
        found[split][name] = None if split == "test" else meant[stored]
    return found


def deepglobe(root: Path) -> Expected:
    colors = [
        (0, 255, 255),
        (255, 255, 0),
        (255, 0, 255),
        (0, 255, 0),
        (0, 0, 255),
        (255, 255, 255),
        (0, 0, 0),
    ]
    labels = draw(list(range(7)))
    is_full = painted(labels, colors) == 255
    spread = np.random.default_rng(1).integers(0, 128, (3, H, W))
    spread[:, 0, 0] = np.where(is_full[:, 0, 0], 0, 127)  # 128 and 127: the last ones on either side
    mask = spread + 128 * is_full
    picture(root / "train" / "119_sat.jpg", image())
    picture(root / "train" / "119_mask.png", mask.astype(np.uint8))
    picture(root / "test" / "204_sat.jpg", image())
    picture(root / "valid" / "308_sat.jpg", image())
    return {
        "train": {"119": np.where(labels == 6, X, labels)},
        "test": {"204": None},
        "valid": {"308": None},
    }


ISAID_COLORS = [
    (0, 0, 0), (0, 0, 63), (0, 63, 63), (0, 63, 0), (0, 63, 127), (0, 63, 191), (0, 63, 255), (0, 127, 63),
    (0, 127, 127), (0, 0, 127), (0, 0, 191), (0, 0, 255), (0, 191, 127), (0, 127, 191), (0, 127, 255),
    (0, 100, 155),
]  # fmt: skip


def isaid(root: Path) -> Expected:
    found: Expected = {"train": {}, "val": {}, "test": {"P0006": None}}
    picture(root / "test" / "images" / "P0006.png", image())
    for split, name in (("train", "P0002"), ("val", "P0003"), ("val", "P0004")):
        folder = root / split / "images"
        labels = draw(list(range(16)), seed=int(name[1:]))
        picture(folder / f"{name}.png", image())
        picture(folder / f"{name}_instance_color_RGB.png", painted(labels, ISAID_COLORS))
        picture(folder / f"{name}_instance_id_RGB.png", image())
        found[split][name] = labels
    return found


def landcover_ai(root: Path) -> Expected:
    found: Expected = {}
    for seed, (split, names) in enumerate(
        {
            "train": ["M-33-20-D-c-4-2_0", "M-33-20-D-c-4-2_7"],
            "val": ["N-34-94-A-b-2-4_3"],
            "test": ["N-34-94-A-b-2-4_11"],
        }.items()
    ):
        (root / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        found[split] = {}
        for name in names:
            labels = draw(list(range(5)), seed=seed)
            picture(root / "output" / f"{name}.jpg", image())
            # cv2 reads a mask of one layer as three equal ones, and split.py writes what it read.
            picture(root / "output" / f"{name}_m.png", np.stack([labels.astype(np.uint8)] * 3))
            found[split][name] = labels
    return found


def open_earth_map(root: Path) -> Expected:
    meant = np.array([X, 0, 1, 2, 3, 4, 5, 6, 7])
    found: Expected = {}
    for seed, (split, names) in enumerate(
        {
            "val": ["aachen_11", "al_qurnah_12"],
            "train": ["kujawsko-pomorskie_20"],
            "test": ["zanzibar_5"],
        }.items()
    ):
        (root / f"{split}.txt").write_text("".join(f"{name}.tif\n" for name in names))
        found[split] = {}
        for name in names:
            region = name.rpartition("_")[0]
            stored = draw(list(range(9)), seed=seed).astype(np.uint8)
            tif(root / region / "images" / f"{name}.tif", image())
            if split != "test":
                tif(root / region / "labels" / f"{name}.tif", stored)
            found[split][name] = None if split == "test" else meant[stored]
    return found


ISPRS_COLORS = [
    (255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0), (0, 0, 0), (252, 255, 0),
]  # fmt: skip
"""The six classes, the eroded boundary, and a colour that is none, met in Potsdam."""


def _isprs(
    root: Path, tiles: dict[str, list[str]], n_bands: int, picture_of: str, eroded: str, full: str
) -> Expected:
    found: Expected = {name: {} for part in tiles for name in (part, f"{part}_full")}
    for part, names in tiles.items():
        for seed, tile in enumerate(names):
            tif(root / picture_of.format(tile), image(n_bands))
            for kind, pattern in ((part, eroded), (f"{part}_full", full)):
                labels = draw(list(range(8)), seed=seed + 100 * (kind == part))
                tif(root / pattern.format(tile), painted(labels, ISPRS_COLORS))
                found[kind][tile] = np.where(labels > 5, X, labels)
    return found


def potsdam(root: Path) -> Expected:
    train = [f"{row}_{col}" for row in range(2, 8) for col in (10, 11, 12)]
    train += [f"{row}_{col}" for row in (6, 7) for col in (7, 8, 9)]
    test = [
        "2_13",
        "2_14",
        "3_13",
        "3_14",
        "4_13",
        "4_14",
        "4_15",
        "5_13",
        "5_14",
        "5_15",
        "6_13",
        "6_14",
        "6_15",
        "7_13",
    ]
    return _isprs(
        root, {"test": test, "train": train}, 4, "4_Ortho_RGBIR/top_potsdam_{}_RGBIR.tif",
        "5_Labels_all_noBoundary/top_potsdam_{}_label_noBoundary.tif", "5_Labels_all/top_potsdam_{}_label.tif",
    )  # fmt: skip


def vaihingen(root: Path) -> Expected:
    """Labels beside the folder of images, as the archives unpack."""
    train = [1, 3, 5, 7, 11, 13, 15, 17, 21, 23, 26, 28, 30, 32, 34, 37]
    test = [n for n in range(1, 39) if n not in (*train, 9, 18, 19, 25, 36)]
    return _isprs(
        root, {"test": list(map(str, test)), "train": list(map(str, train))}, 3,
        "top/top_mosaic_09cm_area{}.tif", "top_mosaic_09cm_area{}_noBoundary.tif", "top_mosaic_09cm_area{}.tif",
    )  # fmt: skip


def flair(root: Path, *, is_full: bool = False) -> Expected:
    meant = np.array([0, *range(19)]) if is_full else np.array([0, *range(12), *[12] * 7])
    found: Expected = {"test": {}, "val": {}, "train": {}}
    rows: dict[str, list[str]] = {"val": [], "train": []}
    for seed, (split, zone, number) in enumerate([
        ("test", "D012_2019/Z13_AA", "062871"), ("test", "D012_2019/Z3_UU", "061946"),
        ("val", "D004_2021/Z10_AU", "000826"), ("train", "D006_2020/Z1_NN", "001000"),
    ]):  # fmt: skip
        images, masks = (
            ("flair_1_aerial_test", "flair_1_labels_test")
            if split == "test"
            else ("flair_aerial_train", "flair_labels_train")
        )
        stored = draw(list(range(1, 20)), seed=seed).astype(np.uint8)
        tif(root / images / zone / "img" / f"IMG_{number}.tif", image(5))
        tif(root / masks / zone / "msk" / f"MSK_{number}.tif", stored)
        found[split][number] = meant[stored]
        if split != "test":
            rows[split].append(
                f"../{images}/{zone}/img/IMG_{number}.tif,../{masks}/{zone}/msk/MSK_{number}.tif"
            )
    for split, lines in rows.items():
        (root / "csv_full").mkdir(exist_ok=True)
        (root / "csv_full" / f"flair-1-paths-{split}.csv").write_text("\n".join(lines) + "\n")
    found["test"] = dict(sorted(found["test"].items()))
    return found


def flair_full(root: Path) -> Expected:
    return flair(root, is_full=True)


IGBP = {
    1: 0, 2: 0, 3: 0, 4: 0, 5: 0, 6: 1, 7: 1, 8: 2, 9: 2, 10: 3, 11: 4, 12: 5, 13: 6, 14: 5, 15: 7, 16: 8, 17: 9,
}  # fmt: skip
"""Forest, shrubland, savanna, grassland, wetlands, croplands, urban, snow, barren, water."""


def sen12ms(root: Path) -> Expected:
    held_out = {
        "ROIs1158_spring": [15, 17, 63, 97, 124, 146], "ROIs1868_summer": [15, 19, 43, 72, 79, 104, 131],
        "ROIs1970_fall": [30, 35, 39, 47, 61, 120, 141, 144], "ROIs2017_winter": [32, 64, 107, 135, 146],
    }  # fmt: skip
    others = {"ROIs1158_spring": [1], "ROIs1868_summer": [146], "ROIs1970_fall": [2], "ROIs2017_winter": [3]}
    meant = np.array([X, *IGBP.values()])
    found: Expected = {"holdout": {}, "train": {}}
    for split, scenes in (("holdout", held_out), ("train", others)):
        for season, numbers in scenes.items():
            for scene in numbers:
                for patch in ("p30", "p202") if (season, scene) == ("ROIs1868_summer", 146) else ("p30",):
                    name = f"{season}_{{}}_{scene}_{patch}"
                    stored = draw(list(range(18)), seed=scene)
                    tif(root / season / f"s2_{scene}" / f"{name.format('s2')}.tif", image(13, "uint16"))
                    layers = np.stack([stored, stored * 0 + 9, stored * 0 + 9, stored * 0 + 9]).astype(
                        np.uint16
                    )
                    tif(root / season / f"lc_{scene}" / f"{name.format('lc')}.tif", layers)
                    if patch != "p202":  # its Sentinel-1 image is broken
                        found[split][name.format("s2")] = meant[stored]
    return found


def dfc2020(root: Path) -> Expected:
    meant = np.array([X, 0, 1, X, 2, 3, 4, 5, X, 6, 7])
    found: Expected = {"test": {}, "val": {}}
    for seed, (split, folder, scene, name) in enumerate([
        ("test", "ROIs0000_test", "0", "ROIs0000_test_{}_0_p0"), ("test", "ROIs0000_test", "0", "ROIs0000_test_{}_0_p1"),
        ("val", "ROIs0000_validation", "validation", "ROIs0000_validation_{}_2_p84"),
    ]):  # fmt: skip
        stored = draw(list(range(11)), seed=seed).astype(np.uint8)
        tif(root / folder / f"s2_{scene}" / f"{name.format('s2')}.tif", image(13, "uint16"))
        tif(root / folder / f"dfc_{scene}" / f"{name.format('dfc')}.tif", stored)
        tif(root / folder / f"lc_{scene}" / f"{name.format('lc')}.tif", stored * 0)
        found[split][name.format("s2")] = meant[stored]
    return found


def five_billion_pixels(root: Path) -> Expected:
    found = {}
    for seed, scene in enumerate(["GF2_PMS1__L1A0000189089-MSS1", "GF2_PMS2__L1A0001787564-MSS2"]):
        stored = draw(list(range(25)), seed=seed).astype(np.uint8)
        tif(root / "Image__8bit_NirRGB" / f"{scene}.tif", image(4), photometric="CMYK")
        picture(root / "Annotation__index" / f"{scene}_24label.png", stored)
        found[scene] = np.where(stored == 0, X, stored.astype(int) - 1)
    return {"all": found}


def dynamic_world(root: Path) -> Expected:
    meant = np.array([X, 0, 1, 2, 3, 4, 5, 6, 7, 8, X])
    stored, tile = draw(list(range(11))).astype(np.uint8), "dw_-0.7_51.2-20190405"
    layers = np.stack([stored * 0 + 3, stored])
    tif(root / "dw_test" / f"label_{tile}.tif", layers, names=("label", "lulc"))
    tif(root / "Experts" / "EH" / "1" / f"{tile}.tif", stored)
    tif(root / "images" / f"{tile}.tif", image(9, "uint16"))
    return {
        "test": {f"dw_test/label_{tile}": meant[stored]},
        "train": {f"Experts/EH/1/{tile}": meant[stored]},
    }


def ftw(root: Path, *, kind: str = "semantic_3class") -> Expected:
    found: Expected = {"test": {}, "val": {}, "train": {}}
    for country, last in (("austria", 0), ("kenya", 3)):
        chips = pd.DataFrame(
            {"aoi_id": ["g1", "g0", "g2", "g3", "g4"], "split": ["test", "test", "val", "train", "test"]}
        )
        (root / country).mkdir()
        chips.to_parquet(root / country / f"chips_{country}.parquet")
        for seed, chip in enumerate(chips["aoi_id"]):
            for window in ("window_a", "window_b"):
                if (window, chip) != ("window_b", "g4"):  # some chips have no image
                    pixels = image(4, "uint16") + (1000 if window == "window_b" else 0)
                    tif(root / country / "s2_images" / window / f"{chip}.tif", pixels)
            for masks, values in (("semantic_2class", [0, 1, last]), ("semantic_3class", [0, 1, 2, last])):
                stored = draw(values, seed=seed).astype(np.uint8)
                tif(root / country / "label_masks" / masks / f"{chip}.tif", stored)
                if masks == kind and chip != "g4":
                    split = chips.set_index("aoi_id").loc[chip, "split"]
                    found[split][f"{country}/{chip}"] = np.where(stored == 3, X, stored)
    return found


def ftw_2class(root: Path) -> Expected:
    return ftw(root, kind="semantic_2class")


FTW = {f"ftw{window}": ftw for window in ("", "-window-a", "-window-b")}
FTW_2CLASS = {f"ftw-2class{window}": ftw_2class for window in ("", "-window-a", "-window-b")}


def sen1floods11(root: Path, *, sensor: str = "S2Hand") -> Expected:
    data = root / "data" / "flood_events" / "HandLabeled"
    lists = root / "splits" / "flood_handlabeled"
    lists.mkdir(parents=True)
    found: Expected = {}
    for split, name, chips in (
        ("test", "test", ["Ghana_103272", "Sri-Lanka_101973"]), ("val", "valid", ["USA_741073"]),
        ("train", "train", ["India_591317"]), ("bolivia", "bolivia", ["Bolivia_103757"]),
    ):  # fmt: skip
        (lists / f"flood_{name}_data.csv").write_text(
            "".join(f"{c}_S1Hand.tif,{c}_LabelHand.tif\n" for c in chips)
        )
        found[split] = {}
        for chip in chips:
            stored = draw([-1, 0, 1]).astype(np.int16)
            pixels = image(2, "float32") if sensor == "S1Hand" else image(13, "uint16")
            tif(data / sensor / f"{chip}_{sensor}.tif", pixels)
            tif(data / "LabelHand" / f"{chip}_LabelHand.tif", stored)
            found[split][chip] = np.where(stored < 0, X, stored)
    return found


def sen1floods11_s1(root: Path) -> Expected:
    return sen1floods11(root, sensor="S1Hand")


def centres_in(
    polygons: list[shapely.Polygon], transform: Affine, shape: tuple[int, int] = (H, W)
) -> np.ndarray:
    """Which pixels have their centre in a polygon, asked one by one."""
    rows, cols = np.indices(shape)
    x = transform.a * (cols + 0.5) + transform.c
    y = transform.e * (rows + 0.5) + transform.f
    return shapely.contains_xy(shapely.union_all(polygons), x, y)


def geojson(path: Path, polygons: list[shapely.Polygon], crs: str = "urn:ogc:def:crs:OGC:1.3:CRS84") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    features = [
        {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(p)} for p in polygons
    ]
    member = {"type": "name", "properties": {"name": crs}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": member, "features": features}))


LONLAT = {"crs": "EPSG:4326", "transform": Affine(1e-5, 0, -115.2, 0, -1e-5, 36.2)}
HOUSES = [
    shapely.Polygon([(-115.19999, 36.19999), (-115.19996, 36.19998), (-115.19997, 36.19996)]),
    shapely.box(-115.199951, 36.199941, -115.199929, 36.199961),
]


def spacenet1(root: Path) -> Expected:
    for split, number in (("train", 10), ("train", 9), ("test", 3)):
        tif(root / split / "3band" / f"3band_AOI_1_RIO_img{number}.tif", image(), **LONLAT)
    geojson(root / "train" / "geojson" / "Geo_AOI_1_RIO_img9.geojson", HOUSES)
    (root / "train" / "geojson" / "Geo_AOI_1_RIO_img10.geojson").write_bytes(b"")
    return {
        "train": {
            "AOI_1_RIO_img10": np.zeros((H, W)),
            "AOI_1_RIO_img9": centres_in(HOUSES, LONLAT["transform"]),
        },
        "test": {"AOI_1_RIO_img3": None},
    }


def spacenet2(root: Path) -> Expected:
    """One city as the tarballs have it, one as the bucket has it."""
    for number in (2, 11):
        name = f"AOI_2_Vegas_img{number}"
        tif(root / "AOI_2_Vegas_Train" / "RGB-PanSharpen" / f"RGB-PanSharpen_{name}.tif", image(), **LONLAT)
        houses = HOUSES if number == 2 else []
        geojson(root / "AOI_2_Vegas_Train" / "geojson" / "buildings" / f"buildings_{name}.geojson", houses)
    tif(
        root / "AOI_3_Paris_Test_public" / "RGB-PanSharpen" / "RGB-PanSharpen_AOI_3_Paris_img4.tif",
        image(),
        **LONLAT,
    )
    name = "SN2_buildings_train_AOI_4_Shanghai_{}_img7"
    tif(root / "AOI_4_Shanghai" / "PS-RGB" / f"{name.format('PS-RGB')}.tif", image(), **LONLAT)
    geojson(
        root / "AOI_4_Shanghai" / "geojson_buildings" / f"{name.format('geojson_buildings')}.geojson",
        HOUSES[1:],
    )
    grid = LONLAT["transform"]
    return {
        "train": {
            "AOI_2_Vegas_img2": centres_in(HOUSES, grid),
            "AOI_2_Vegas_img11": np.zeros((H, W)),
            "AOI_4_Shanghai_img7": centres_in(HOUSES[1:], grid),
        },
        "test": {"AOI_3_Paris_img4": None},
    }


def spacenet7(root: Path) -> Expected:
    """Labels in degrees on mosaics in Web Mercator, with an unusable corner in one month."""
    grid = Affine(4.777, 0, -14_000_000, 0, -4.777, 4_500_000)
    aoi = "L15-0331E-1257N_1327_3160_13"
    to_lonlat = gpd.GeoSeries(
        [shapely.box(-13_999_995, 4_499_980, -13_999_975, 4_499_993), shapely.box(-13_999_985, 4_499_985, -13_999_957, 4_500_000)],
        crs="EPSG:3857",
    )  # fmt: skip
    house, cloud = to_lonlat.to_crs("EPSG:4326")
    found: Expected = {"train": {}, "test": {}}
    for split, month in (("train", "2018_01"), ("train", "2018_02"), ("test", "2018_01")):
        name = f"global_monthly_{month}_mosaic_{aoi}"
        folder = root / split / split / aoi
        tif(folder / "images_masked" / f"{name}.tif", image(4), crs="EPSG:3857", transform=grid)
        if split == "train":
            geojson(folder / "labels" / f"{name}_Buildings.geojson", [house])
            geojson(folder / "labels" / f"{name}_UDM.geojson", [cloud] if month == "2018_02" else [])
        labels = centres_in([to_lonlat[0]], grid).astype(int)
        if month == "2018_02":
            labels[centres_in([to_lonlat[1]], grid)] = X
        found[split][name] = None if split == "test" else labels
    return found


MINIATURES: dict[str, Callable[[Path], Expected]] = {
    "loveda": loveda, "deepglobe-land-cover": deepglobe, "isaid": isaid, "landcover-ai": landcover_ai,
    "open-earth-map": open_earth_map, "isprs-potsdam": potsdam, "isprs-vaihingen": vaihingen, "flair-1": flair,
    "flair-1-full": flair_full, "sen12ms": sen12ms, "dfc2020": dfc2020, "five-billion-pixels": five_billion_pixels,
    "dynamic-world-experts": dynamic_world, **FTW, **FTW_2CLASS, "sen1floods11": sen1floods11,
    "sen1floods11-s1": sen1floods11_s1, "spacenet-1": spacenet1, "spacenet-2": spacenet2, "spacenet-7": spacenet7,
}  # fmt: skip
SIZES = {
    "loveda": 7, "deepglobe-land-cover": 6, "isaid": 16, "landcover-ai": 5, "open-earth-map": 8, "isprs-potsdam": 6,
    "isprs-vaihingen": 6, "flair-1": 13, "flair-1-full": 19, "sen12ms": 10, "dfc2020": 8, "five-billion-pixels": 24,
    "dynamic-world-experts": 9, **dict.fromkeys(FTW, 3), **dict.fromkeys(FTW_2CLASS, 2), "sen1floods11": 2, "sen1floods11-s1": 2, "spacenet-1": 2,
    "spacenet-2": 2, "spacenet-7": 2,
}  # fmt: skip
"""How many classes each is scored on."""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Expected]]:
    """Miniatures by name, each written once."""
    done: dict[str, tuple[Path, Expected]] = {}

    def write(name: str) -> tuple[Path, Expected]:
        if name not in done:
            root = tmp_path_factory.mktemp(name)
            done[name] = (root, MINIATURES[name](root))
        return done[name]

    return write


@pytest.mark.parametrize("name", MINIATURES)
def test_labels_are_what_the_data_set_means(name, written):
    root, expected = written(name)
    benchmark = BENCHMARKS[name]
    assert set(benchmark.splits) == set(expected)
    for split, labels in expected.items():
        samples = benchmark.samples(root, split)
        assert sorted(sample.id for sample in samples) == sorted(labels), split
        assert len({sample.id for sample in samples}) == len(samples)
        for sample in samples:
            pixels = sample.read_image()
            assert pixels.shape[0] == len(benchmark.bands)
            if labels[sample.id] is None:
                assert sample.read_labels is None
                continue
            found = sample.read_labels()
            assert found.dtype == np.uint8
            assert found.shape == pixels.shape[1:]
            np.testing.assert_array_equal(found, labels[sample.id], err_msg=f"{split} {sample.id}")


MODULES = {
    "loveda", "deepglobe", "isaid", "landcover_ai", "open_earth_map", "isprs", "flair", "dfc2020",
    "five_billion_pixels", "dynamic_world", "fields_of_the_world", "sen1floods11", "spacenet",
}  # fmt: skip


def test_each_benchmark_has_a_miniature():
    finders = {name: BENCHMARKS[name].find for name in BENCHMARKS}
    modules = {
        name: getattr(find, "func", find).__module__.rpartition(".")[2] for name, find in finders.items()
    }
    assert {name for name, module in modules.items() if module in MODULES} == set(MINIATURES)
    assert set(modules.values()) >= MODULES


@pytest.mark.parametrize("name", MINIATURES)
def test_every_class_and_what_is_not_scored_occurs_in_the_miniature(name, written):
    _, expected = written(name)
    seen = {
        int(v)
        for labels in expected.values()
        for found in labels.values()
        if found is not None
        for v in np.unique(found)
    }
    assert seen - {X} == set(range(SIZES[name]))


@pytest.mark.parametrize("name", MINIATURES)
def test_descriptions_are_whole(name):
    benchmark = BENCHMARKS[name]
    assert benchmark.legend.values == tuple(range(SIZES[name]))
    assert {re.sub("_[ab]$", "", band) for band in benchmark.bands} <= COMMON_NAMES
    assert len(set(benchmark.splits)) == len(benchmark.splits)
    assert set(benchmark.n_samples) <= set(benchmark.splits)
    for text in (benchmark.title, benchmark.home, benchmark.license, benchmark.layout, benchmark.source):
        assert text.strip() == text
        assert text
    colors = [c.color_hint for c in benchmark.legend.classes]
    assert len(set(colors)) == len(colors), "two classes look alike"


@pytest.mark.parametrize("name", MINIATURES)
def test_an_empty_folder_is_refused_with_the_place_to_get_it(name, tmp_path):
    benchmark = BENCHMARKS[name]
    for split in benchmark.splits:
        with pytest.raises(EvaluationError) as caught:
            benchmark.samples(tmp_path, split)
        message = str(caught.value)
        assert benchmark.home in message
        assert str(tmp_path) in message
        assert "\n" not in message
    assert not any(found.is_complete for found in check(benchmark, tmp_path))


UNLISTED = {*FTW, *FTW_2CLASS, "dynamic-world-experts"}
"""Chips of FTW that lack a file are left out, as its tools do; labels of Dynamic World are what is listed."""


@pytest.mark.parametrize("name", [name for name in MINIATURES if name not in UNLISTED])
def test_a_missing_label_file_is_named(name, tmp_path):
    expected = MINIATURES[name](tmp_path)
    benchmark = BENCHMARKS[name]
    split = labelled(expected)
    path = benchmark.samples(tmp_path, split)[-1].read_labels.args[0]
    path.unlink()
    with pytest.raises(EvaluationError) as caught:
        benchmark.samples(tmp_path, split)
    message = str(caught.value)
    assert path.relative_to(tmp_path).parent.as_posix() in message
    assert benchmark.home in message
    assert not next(found for found in check(benchmark, tmp_path) if found.split == split).is_complete


def labelled(expected: Expected) -> str:
    """The first split with labels."""
    return next(split for split, found in expected.items() if any(v is not None for v in found.values()))


@pytest.mark.parametrize("name", MINIATURES)
def test_nothing_is_read_before_it_is_asked_for(name, tmp_path):
    MINIATURES[name](tmp_path)
    benchmark = BENCHMARKS[name]
    for path in tmp_path.rglob("*"):
        if path.suffix in (".tif", ".png", ".jpg", ".geojson"):
            path.write_bytes(b"no picture")
    samples = [sample for split in benchmark.splits for sample in benchmark.samples(tmp_path, split)]
    for read in (samples[0].read_image, next(s for s in samples if s.read_labels).read_labels):
        with pytest.raises(EvaluationError, match=str(tmp_path)) as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["loveda", "open-earth-map", "flair-1", "five-billion-pixels", "dfc2020", "sen1floods11"]
)
def test_label_numbers_that_the_data_set_has_not_are_refused(name, tmp_path):
    expected = MINIATURES[name](tmp_path)
    benchmark = BENCHMARKS[name]
    sample = benchmark.samples(tmp_path, labelled(expected))[0]
    path = sample.read_labels.args[0]
    with label_rasters.opened(path) as file:
        stored = file.read(1)
    stored[0, 0] = 99
    picture(path, stored) if path.suffix == ".png" else tif(path, stored)
    with pytest.raises(EvaluationError, match="holds 99"):
        sample.read_labels()


def test_images_keep_their_bands_and_values(written):
    root, _ = written("five-billion-pixels")
    np.testing.assert_array_equal(BENCHMARKS["five-billion-pixels"].samples(root)[0].read_image(), image(4))
    root, _ = written("spacenet-7")
    np.testing.assert_array_equal(BENCHMARKS["spacenet-7"].samples(root)[0].read_image(), image(4)[:3])


@pytest.mark.parametrize("kind", ["ftw", "ftw-2class"])
def test_bands_of_ftw_are_those_of_the_window_in_their_names(kind, written):
    root, _ = written(kind)
    both = BENCHMARKS[kind].samples(root)[0].read_image()
    for window, pixels in (("a", image(4, "uint16")), ("b", image(4, "uint16") + 1000)):
        alone = BENCHMARKS[f"{kind}-window-{window}"]
        assert alone.bands == ("red", "green", "blue", "nir")
        np.testing.assert_array_equal(alone.samples(root)[0].read_image(), pixels)
        named = [BENCHMARKS[kind].bands.index(f"{band}_{window}") for band in alone.bands]
        np.testing.assert_array_equal(both[named], pixels)


@pytest.mark.parametrize(
    ("name", "split", "places"),
    [
        ("landcover-ai", "train", {"M-33-20-D-c-4-2"}),
        ("open-earth-map", "val", {"aachen", "al_qurnah"}),
        ("flair-1", "test", {"D012_2019"}),
        ("ftw", "test", {"austria", "kenya"}),
        ("sen1floods11", "test", {"Ghana", "Sri-Lanka"}),
        ("spacenet-2", "train", {"AOI_2_Vegas", "AOI_4_Shanghai"}),
        ("spacenet-7", "train", {"L15-0331E-1257N_1327_3160_13"}),
    ],
)
def test_tiles_of_one_place_are_drawn_together(name, split, places, written):
    root, _ = written(name)
    assert {sample.place for sample in BENCHMARKS[name].samples(root, split)} == places


def test_numbered_tiles_come_in_the_order_of_their_numbers(written):
    root, _ = written("spacenet-2")
    found = [sample.id for sample in BENCHMARKS["spacenet-2"].samples(root, "train")]
    assert found == ["AOI_2_Vegas_img2", "AOI_2_Vegas_img11", "AOI_4_Shanghai_img7"]


def test_held_out_scenes_of_sen12ms_must_be_there(tmp_path):
    sen12ms(tmp_path)
    shutil.rmtree(tmp_path / "ROIs1970_fall" / "s2_144")
    with pytest.raises(EvaluationError, match="ROIs1970_fall/s2_144"):
        BENCHMARKS["sen12ms"].samples(tmp_path, "holdout")


def test_split_lists_of_flair_must_be_there(tmp_path):
    flair(tmp_path)
    (tmp_path / "csv_full" / "flair-1-paths-val.csv").unlink()
    with pytest.raises(EvaluationError, match=r"flair-1-paths-val\.csv"):
        BENCHMARKS["flair-1"].samples(tmp_path, "val")


def test_tiles_of_dynamic_world_without_an_image_say_where_it_goes(tmp_path):
    dynamic_world(tmp_path)
    shutil.rmtree(tmp_path / "images")
    sample = BENCHMARKS["dynamic-world-experts"].samples(tmp_path)[0]
    with pytest.raises(
        EvaluationError, match=r"images/dw_-0\.7_51\.2-20190405\.tif: the release has labels only"
    ):
        sample.read_image()
    assert sample.read_labels().shape == (H, W)


def test_labels_of_dynamic_world_without_the_experts_layer_are_refused(tmp_path):
    dynamic_world(tmp_path)
    path = next(tmp_path.rglob("label_dw_*.tif"))
    tif(path, np.zeros((2, H, W), np.uint8), names=("label", "score"))
    with pytest.raises(EvaluationError, match="no layer called lulc; it has label, score"):
        BENCHMARKS["dynamic-world-experts"].samples(tmp_path)[0].read_labels()


def test_orthophotos_of_landcover_ai_give_the_tiles_that_split_py_would_cut(tmp_path):
    """The loops of its split.py: tiles are numbered row by row, also those that are too small to be written."""
    size, shape = 512, (1100, 1300)
    photo, mask = image(shape=shape), draw(list(range(5)), shape=shape).astype(np.uint8)
    tif(tmp_path / "images" / "N-33-60-D-d-1-2.tif", photo)
    tif(tmp_path / "masks" / "N-33-60-D-d-1-2.tif", mask)
    tiles, number = {}, 0
    for y in range(0, shape[0], size):
        for x in range(0, shape[1], size):
            tile = mask[y : y + size, x : x + size]
            if tile.shape == (size, size):
                tiles[f"N-33-60-D-d-1-2_{number}"] = (photo[:, y : y + size, x : x + size], tile)
            number += 1
    assert [name.rpartition("_")[2] for name in tiles] == ["0", "1", "3", "4"]
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.txt").write_text("".join(f"{name}\n" for name in tiles))
    samples = BENCHMARKS["landcover-ai"].samples(tmp_path, "train")
    assert [sample.id for sample in samples] == list(tiles)
    for sample in samples:
        np.testing.assert_array_equal(sample.read_image(), tiles[sample.id][0])
        np.testing.assert_array_equal(sample.read_labels(), tiles[sample.id][1])
    (tmp_path / "masks" / "N-33-60-D-d-1-2.tif").unlink()
    with pytest.raises(EvaluationError, match=r"masks/N-33-60-D-d-1-2\.tif"):
        BENCHMARKS["landcover-ai"].samples(tmp_path, "train")


@settings(max_examples=50, deadline=None)
@given(data=st.data(), colors=st.lists(st.integers(0, 0xFFFFFF), min_size=2, max_size=12, unique=True))
def test_painting_and_reading_colors_are_inverse(data, colors):
    *known, other = colors
    legend = Legend(
        classes=tuple(LegendClass(value=i, name=f"c{i}", color_hint=f"{c:06X}") for i, c in enumerate(known))
    )
    labels = np.array(data.draw(st.lists(st.integers(0, len(known)), min_size=1, max_size=20)))[None]
    packed = np.array(colors)[labels]
    rgb = np.stack([packed >> 16, packed >> 8 & 255, packed & 255]).astype(np.uint8)
    found = label_rasters.classes_of_colors(rgb, legend)
    np.testing.assert_array_equal(found, np.where(labels == len(known), X, labels))
    assert other not in known


@settings(max_examples=25, deadline=None)
@given(points=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=3, unique=True))
def test_footprints_own_the_pixels_whose_centres_they_hold(points, tmp_path_factory):
    folder = tmp_path_factory.mktemp("burn")
    grid = LONLAT["transform"]
    corners = [(grid.c + x * W * grid.a, grid.f + y * H * grid.e) for x, y in points]
    triangle = shapely.Polygon(corners)
    tif(folder / "image.tif", image(1), **LONLAT)
    geojson(folder / "houses.geojson", [triangle])
    rows, cols = np.indices((H, W))
    centres = shapely.points(grid.a * (cols + 0.5) + grid.c, grid.e * (rows + 0.5) + grid.f)
    is_clear = shapely.distance(triangle.exterior, centres) > 1e-9
    burned = label_rasters.burn(folder / "houses.geojson", onto=folder / "image.tif")
    np.testing.assert_array_equal(burned[is_clear], shapely.contains(triangle, centres)[is_clear])


def test_windows_are_parts_of_the_whole(tmp_path):
    stored = draw(list(range(5)), shape=(20, 30)).astype(np.uint8)
    tif(tmp_path / "a.tif", stored)
    table = lookup({value: value for value in range(1, 5)}, ignored=[0])
    whole = label_rasters.read_classes(tmp_path / "a.tif", table)
    part = label_rasters.read_classes(tmp_path / "a.tif", table, window=Window(7, 4, 11, 9))
    np.testing.assert_array_equal(part, whole[4:13, 7:18])
    np.testing.assert_array_equal(whole, np.where(stored == 0, X, stored))


@pytest.mark.parametrize("value", [1.5, np.nan, 300, -2])
def test_labels_that_are_no_class_numbers_are_refused(value, tmp_path):
    tif(tmp_path / "a.tif", np.full((2, 2), value, np.float32))
    with pytest.raises(EvaluationError, match="expected class numbers of 8 bits"):
        label_rasters.read_classes(tmp_path / "a.tif", lookup({1: 0}, ignored=[0, X]))


WORLDCOVER = {10: 1, 20: 5, 30: 2, 40: 4, 50: 6, 60: 7, 70: 8, 80: 0, 90: 3, 95: 1}
"""In Dynamic World's order: water, trees, grass, flooded vegetation, crops, shrub, built, bare, snow."""


def test_a_product_is_compared_by_its_crosswalk(tmp_path):
    product = wall_to_wall.PRODUCTS["esa-worldcover"]
    legend = BENCHMARKS["dynamic-world-experts"].legend
    stored = draw([0, *product.legend.values], shape=(5, 8)).astype(np.uint8)
    tif(tmp_path / "worldcover.tif", stored)
    with rasterio.open(tmp_path / "worldcover.tif") as file:
        grid = GeoBox.from_rio(file)
    crosswalk = wall_to_wall.crosswalk(product, product.dynamic_world)
    classes = compared(legend, crosswalk)
    with raster_reference(
        tmp_path / "worldcover.tif", grid=grid, classes=classes, crosswalk=crosswalk
    ) as reference:
        found = reference.read(Window(0, 0, 8, 5))
    meant = np.full(256, IGNORED)
    meant[list(WORLDCOVER)] = list(WORLDCOVER.values())
    np.testing.assert_array_equal(found, meant[stored])


@pytest.mark.parametrize("name", wall_to_wall.PRODUCTS)
def test_products_say_a_class_for_each_of_their_values(name):
    product = wall_to_wall.PRODUCTS[name]
    classes = {c.name for c in BENCHMARKS["dynamic-world-experts"].legend.classes}
    table = wall_to_wall.crosswalk(product, product.dynamic_world).reference
    assert set(table) == {str(value) for value in (*product.nodata, *product.legend.values)}
    assert set(table.values()) <= classes | {"ignore"}
    assert not set(product.nodata) & set(product.legend.values)
    assert product.stac or product.files


def test_values_of_products_are_the_published_ones():
    products = wall_to_wall.PRODUCTS
    assert products["esa-worldcover"].legend.values == (10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100)
    nlcd = {11, 12, 21, 22, 23, 24, 31, 41, 42, 43, 52, 71, 81, 82, 90, 95}
    assert set(products["nlcd"].legend.values) == nlcd
    assert products["usgs-lcmap"].legend.values == tuple(range(1, 9))
    named = {c.value: (c.name, c.color_hint) for c in products["nlcd"].legend.classes}
    assert named[42] == ("Evergreen Forest", "1C5F2C")


@pytest.mark.parametrize(
    ("change", "message"), [({80: None}, "80 has no class"), ({81: "water"}, "81 is none of its")]
)
def test_a_crosswalk_with_a_hole_is_refused(change, message):
    product = wall_to_wall.PRODUCTS["esa-worldcover"]
    classes = {k: v for k, v in {**product.dynamic_world, **change}.items() if v is not None}
    with pytest.raises(EvaluationError, match=message):
        wall_to_wall.crosswalk(product, classes)
