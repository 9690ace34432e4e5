"""Polygons, COCO results, panoptic segments and bitmasks through the command: scores of the makers' own tools."""

import json
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from builders import measured
from coco_masks import write_coco
from coco_scores import coco_stats
from PIL import Image
from typer.testing import CliRunner

from geoseg.cli.main import app
from geoseg.cli.show_calibration import print_calibration
from geoseg.errors import EvaluationError, OutputError
from geoseg.evaluation.objects.rle import encode_mask

REFERENCE = Path(__file__).parents[2] / "../shared/data/reference"
BDD = REFERENCE / "bdd100k/tests/eval/testcases/pan_seg"
SAMPLE = REFERENCE / "panopticapi/sample_data"
SIDE = 60
KINDS = ("house", "shed")


def evaluated(out, *args):
    """What the command writes; its own error where it refuses."""
    result = CliRunner().invoke(app, ["evaluate", *map(str, args), "--out", str(out)])
    if result.exception is not None:
        raise result.exception
    assert (out / "scores.html").stat().st_size > 1000
    return json.loads((out / "scores.json").read_text()), result.output


def compared(tmp_path, prediction, reference, *args, name="out"):
    return evaluated(tmp_path / name, "--prediction", prediction, "--reference", reference, *args)[0]


def boxes(seed, n=40):
    """(n, 4) left, top, right, bottom in whole cells, none of them on another, and their classes."""
    rng = np.random.default_rng(seed)
    corner = np.array([(12 * (k % 5), 12 * (k // 5) % SIDE) for k in range(25)])[rng.permutation(25)[:n]]
    size = rng.integers(4, 9, corner.shape)
    return np.hstack([corner + 1, corner + 1 + size]), rng.integers(0, 2, len(corner))


def moved(corners, seed):
    rng = np.random.default_rng(seed)
    return corners + rng.integers(-1, 2, corners.shape)


def layer(corners, **columns):
    """The boxes as polygons of 10 m cells in UTM."""
    shapes = [
        shapely.box(500_000 + 10 * a, 5_000_000 - 10 * d, 500_000 + 10 * c, 5_000_000 - 10 * b)
        for a, b, c, d in corners
    ]
    return gpd.GeoDataFrame(columns, geometry=shapes, crs="EPSG:32633")


@pytest.fixture
def buildings(tmp_path):
    """A reference and a prediction that is off here and there, with classes and confidences."""
    corners, kinds = boxes(1)
    rng = np.random.default_rng(2)
    layer(corners, class_name=[KINDS[k] for k in kinds]).to_file(tmp_path / "true.gpkg")
    found = moved(corners, 3)
    kinds = np.where(rng.random(len(kinds)) < 0.1, 1 - kinds, kinds)
    sure = rng.choice([0.2, 0.5, 0.7, 0.9], len(kinds))
    layer(found[:20], class_name=[KINDS[k] for k in kinds[:20]], confidence=sure[:20]).to_file(
        tmp_path / "found.gpkg"
    )
    return tmp_path / "found.gpkg", tmp_path / "true.gpkg"


def masks(frame):
    """The polygons as masks on their grid: what overlaps there is what overlaps on the ground."""
    found = np.zeros((len(frame), SIDE + 20, SIDE + 20), bool)
    for mask, (west, south, east, north) in zip(found, frame.bounds.to_numpy(), strict=True):
        left, right = round((west - 500_000) / 10) + 5, round((east - 500_000) / 10) + 5
        top, bottom = round((5_000_000 - north) / 10) + 5, round((5_000_000 - south) / 10) + 5
        mask[top:bottom, left:right] = True
    return found


def as_coco(found, true):
    """Two layers as COCO's JSON of one image."""
    side = SIDE + 20
    truth = {
        "images": [{"id": 1, "height": side, "width": side}],
        "categories": [{"id": n, "name": name} for n, name in enumerate(KINDS, start=1)],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": KINDS.index(name) + 1, "iscrowd": 0, "area": int(mask.sum()), "segmentation": write_coco(encode_mask(mask))}
            for n, (name, mask) in enumerate(zip(true.class_name, masks(true), strict=True), start=1)
        ],
    }  # fmt: skip
    results = [
        {"image_id": 1, "category_id": KINDS.index(name) + 1, "score": sure, "segmentation": write_coco(encode_mask(mask))}
        for name, sure, mask in zip(found.class_name, found.confidence, masks(found), strict=True)
    ]  # fmt: skip
    return truth, results


def matched(found, true, iou):
    """(tp, fp, fn) of boxes none of which overlaps two others: no order of matching matters."""
    hits = 0
    for name, mask in zip(true.class_name, masks(true), strict=True):
        same = masks(found[found.class_name == name])
        shared, joined = (same & mask).sum(axis=(1, 2)), (same | mask).sum(axis=(1, 2))
        hits += int((shared / joined >= iou).any())
    return hits, len(found) - hits, len(true) - hits


class TestPolygons:
    def test_objects_are_found_made_up_and_missed(self, buildings, tmp_path):
        scores = compared(tmp_path, *buildings, "--iou", "0.5,0.75")
        found, true = (gpd.read_file(path) for path in buildings)
        for part, iou in zip(scores["objects"]["found"], (0.5, 0.75), strict=True):
            tp, fp, fn = matched(found, true, iou)
            assert (part["true_positives"], part["false_positives"], part["false_negatives"]) == (tp, fp, fn)
            assert part["f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn), abs=1e-12)
        assert scores["objects"]["found"][0] != scores["objects"]["found"][1]
        assert [c["class_name"] for c in scores["objects"]["classes"]] == list(KINDS)
        assert scores["compared"] == len(true)

    def test_average_precision_is_that_of_pycocotools(self, buildings, tmp_path):
        objects = compared(tmp_path, *buildings)["objects"]
        (ap, ap50, ap75, _), per_class = coco_stats(*as_coco(*(gpd.read_file(path) for path in buildings)))
        assert [objects[name] for name in ("ap", "ap50", "ap75")] == pytest.approx([ap, ap50, ap75], abs=1e-9)
        assert [c["ap"] for c in objects["classes"]] == pytest.approx(per_class, abs=1e-9)
        assert 0 < ap < 1

    def test_any_crs_and_format_gives_the_same(self, buildings, tmp_path):
        iou = ("--iou", "0.513")  # no pair has it, so no rounding of coordinates decides
        expected = compared(tmp_path, *buildings, *iou)["objects"]
        found, true = (gpd.read_file(path) for path in buildings)
        found.to_crs("EPSG:4326").to_file(tmp_path / "found.json", driver="GeoJSON", COORDINATE_PRECISION=12)
        true.to_crs("EPSG:3035").to_file(tmp_path / "true.fgb")
        files = tmp_path / "found.json", tmp_path / "true.fgb"
        assert compared(tmp_path, *files, *iou, name="other")["objects"]["found"] == expected["found"]

    def test_renaming_classes_renames_scores(self, buildings, tmp_path):
        expected = compared(tmp_path, *buildings)["objects"]["classes"]
        for n, path in enumerate(buildings):
            frame = gpd.read_file(path)
            frame["class_name"] = frame.class_name.map(dict(zip(KINDS, KINDS[::-1], strict=True)))
            frame.to_file(tmp_path / f"swapped{n}.gpkg")
        swapped = compared(tmp_path, tmp_path / "swapped0.gpkg", tmp_path / "swapped1.gpkg", name="other")
        for a, b in zip(expected, swapped["objects"]["classes"][::-1], strict=True):
            assert (a["found"], a["ap"]) == (b["found"], b["ap"])
        assert expected[0]["found"] != expected[1]["found"]

    def test_places_add_up_and_give_intervals(self, buildings, tmp_path):
        strips = [shapely.box(499_900 + 120 * k, 4_990_000, 500_020 + 120 * k, 5_010_000) for k in range(6)]
        names = [f"strip {k}" for k in range(6)]
        gpd.GeoDataFrame({"name": names}, geometry=strips, crs="EPSG:32633").to_crs("EPSG:4326").to_file(
            tmp_path / "places.gpkg"
        )
        objects = compared(
            tmp_path, *buildings, "--places", tmp_path / "places.gpkg", "--place-field", "name"
        )["objects"]
        assert [place["place"] for place in objects["places"]] == names
        for key in ("true_positives", "false_positives", "false_negatives"):
            assert sum(place["found"][0][key] for place in objects["places"]) == objects["found"][0][key]
        low, high = objects["found"][0]["intervals"]["f1"]
        assert low < objects["found"][0]["f1"] < high

    def test_files_without_classes_are_one_class(self, buildings, tmp_path):
        for path, name in zip(buildings, ("found.geojson", "true.geojson"), strict=True):
            gpd.read_file(path)[["geometry"]].to_file(tmp_path / name)
        scores = compared(tmp_path, tmp_path / "found.geojson", tmp_path / "true.geojson")
        assert [c["class_name"] for c in scores["objects"]["classes"]] == ["object"]
        assert scores["objects"]["ap"] is None
        assert "no field says a class" in " ".join(scores["notes"])

    def test_classes_by_number_meet_classes_by_name(self, buildings, tmp_path):
        expected = compared(tmp_path, *buildings)["objects"]["found"]
        found, true = (gpd.read_file(path) for path in buildings)
        numbers = dict(zip(KINDS, (7, 3), strict=True))
        found.assign(class_id=found.class_name.map(numbers)).to_file(tmp_path / "found2.gpkg")
        true.assign(class_id=true.class_name.map(numbers)).drop(columns="class_name").to_file(
            tmp_path / "ids.gpkg"
        )
        scores = compared(tmp_path, tmp_path / "found2.gpkg", tmp_path / "ids.gpkg", name="other")
        assert scores["objects"]["found"] == expected
        assert [c["class_id"] for c in scores["objects"]["classes"]] == [7, 3]
        (tmp_path / "cross.toml").write_text('[reference]\n3 = "shed"\n1 = "house"\n')
        with pytest.raises(EvaluationError, match="has '7', which is no class of the map"):
            compared(
                tmp_path,
                buildings[0],
                tmp_path / "ids.gpkg",
                "--crosswalk",
                tmp_path / "cross.toml",
                name="c",
            )

    @pytest.mark.parametrize(("spread", "plane"), [(1, "UTM zone 33N"), (500, "EASE-Grid")])
    def test_degrees_are_measured_in_metres(self, buildings, tmp_path, spread, plane):
        """At 60 degrees north, where a square of degrees is half as wide as high."""
        cells = [(14 + spread * 0.02 * k, 60, 14.01 + spread * 0.02 * k, 60.01) for k in range(4)]
        true = gpd.GeoDataFrame(geometry=[shapely.box(*cell) for cell in cells], crs="EPSG:4326")
        found = true.translate(0.002, 0.002)[:3]
        true.to_file(tmp_path / "a.geojson")
        found.to_file(tmp_path / "b.geojson")
        scores = compared(tmp_path, tmp_path / "b.geojson", tmp_path / "a.geojson", "--iou", "0.46,0.48")
        assert [f["true_positives"] for f in scores["objects"]["found"]] == [3, 0]  # 0.64 / 1.36 = 0.4706
        assert plane in " ".join(scores["notes"])

    def test_nothing_predicted_finds_nothing(self, buildings, tmp_path):
        (tmp_path / "empty.json").write_text('{"type": "FeatureCollection", "features": []}')
        gpd.read_file(buildings[1])[["geometry"]].to_file(tmp_path / "true.geojson")
        found = compared(tmp_path, tmp_path / "empty.json", tmp_path / "true.geojson")["objects"]["found"][0]
        assert (found["recall"], found["precision"], found["false_negatives"]) == (0, None, 25)

    def test_a_reference_of_one_class_says_nothing_of_others(self, buildings, tmp_path):
        true = gpd.read_file(buildings[1])
        true[true.class_name == "shed"][["geometry"]].to_file(tmp_path / "sheds.gpkg")
        with pytest.raises(EvaluationError, match=r"has 'object', which is no class of the map.*--crosswalk"):
            compared(tmp_path, buildings[0], tmp_path / "sheds.gpkg")
        (tmp_path / "cross.toml").write_text('[reference]\nobject = "shed"\n')
        scores = compared(
            tmp_path, buildings[0], tmp_path / "sheds.gpkg", "--crosswalk", tmp_path / "cross.toml"
        )
        assert [c["class_name"] for c in scores["objects"]["classes"]] == ["shed"]
        assert "sheds.gpkg has no house: left out." in scores["notes"]


def coco_scene(seed, n_images=4):
    """Polygons, masks and crowds, and results of them that are off here and there."""
    rng = np.random.default_rng(seed)
    truth = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 3, "name": "cat"}, {"id": 8, "name": "dog"}, {"id": 9, "name": "none"}],
    }
    results = []
    for image in range(n_images):
        height, width = 40 + image, 50
        truth["images"].append(
            {"id": image * 7, "height": height, "width": width, "file_name": f"{image}.jpg"}
        )
        for _ in range(8):
            x, y = rng.uniform(0, 35, 2)
            ring = np.round([x, y, x + rng.uniform(4, 14), y + 1, x + 7, y + rng.uniform(5, 14)], 2)
            whole = np.zeros((height, width), bool)
            whole[int(y) : int(y) + 8, int(x) : int(x) + 8] = True
            is_mask = rng.random() < 0.4
            entry = {
                "id": len(truth["annotations"]) + 1,
                "image_id": image * 7,
                "category_id": int(rng.choice([3, 8])),
                "iscrowd": 0,
                "area": 10.0,
            }
            entry["segmentation"] = write_coco(encode_mask(whole)) if is_mask else [ring.tolist()]
            if is_mask and rng.random() < 0.3:
                entry |= {"iscrowd": 1, "segmentation": write_coco(encode_mask(whole), compressed=False)}
            truth["annotations"].append(entry)
            for _ in range(2):
                off = np.roll(
                    burned(entry["segmentation"], height, width), rng.integers(-1, 2, 2), axis=(0, 1)
                )
                results.append(
                    {
                        "image_id": image * 7,
                        "category_id": entry["category_id"],
                        "score": float(rng.choice([0.1, 0.4, 0.6, 0.9])),
                        "segmentation": write_coco(encode_mask(off)),
                    }
                )
    return truth, results


def burned(segmentation, height, width):
    mask = pytest.importorskip("pycocotools.mask")
    if isinstance(segmentation, list):
        return mask.decode(mask.merge(mask.frPyObjects(segmentation, height, width))).astype(bool)
    is_text = isinstance(segmentation["counts"], str)
    return mask.decode(segmentation if is_text else mask.frPyObjects(segmentation, height, width)).astype(
        bool
    )


class TestCocoInstances:
    def files(self, folder, truth, results):
        (folder / "instances.json").write_text(json.dumps(truth))
        (folder / "results.json").write_text(json.dumps(results))
        return folder / "results.json", folder / "instances.json"

    @pytest.mark.parametrize("seed", range(3))
    def test_average_precision_is_that_of_pycocotools(self, tmp_path, seed):
        truth, results = coco_scene(seed)
        scores = compared(tmp_path, *self.files(tmp_path, truth, results))
        means, per_class = coco_stats(truth, results)
        found = scores["instances"]
        assert [found[name] for name in ("ap", "ap50", "ap75", "ar")] == pytest.approx(means, abs=1e-9)
        assert [c["ap"] for c in found["classes"][:2]] == pytest.approx(per_class[:2], abs=1e-9)
        assert found["classes"][2]["ap"] is None
        assert "COCO results of 64 masks against COCO instances of 4 images." in scores["notes"]
        assert 0 < found["ap"] < 1

    def test_no_results_find_nothing(self, tmp_path):
        truth, _ = coco_scene(0)
        assert compared(tmp_path, *self.files(tmp_path, truth, []))["instances"]["ap"] == 0

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"image_id": 5}, "1 images that the reference does not list .first: image_id 5"),
            ({"segmentation": {"size": [3, 3], "counts": [9]}}, "is 3 x 3, the image 40 x 50"),
            ({"segmentation": [[1, 2, 3]]}, "is no polygon"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, tmp_path, change, text):
        truth, results = coco_scene(0)
        results[0] |= change
        with pytest.raises(EvaluationError, match=text):
            compared(tmp_path, *self.files(tmp_path, truth, results))
        assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the reference data is not on this machine")
class TestCocoPanoptic:
    def prediction(self, folder, change):
        """The published sample with its first image changed."""
        content = json.loads((SAMPLE / "panoptic_examples.json").read_text())
        shutil.copytree(SAMPLE / "panoptic_examples", folder / "found")
        change(content, folder / "found")
        (folder / "found.json").write_text(json.dumps(content))
        return folder / "found.json", SAMPLE / "panoptic_examples.json"

    def test_the_sample_against_itself_and_one_segment_of_another_class(self, tmp_path):
        def rename(content, _):
            persons = [
                s
                for s in content["annotations"][0]["segments_info"]
                if s["category_id"] == 1 and not s["iscrowd"]
            ]
            persons[0]["category_id"] = 3

        perfect = compared(tmp_path, *self.prediction(tmp_path, lambda *_: None))["panoptic"]
        assert [perfect["overall"][name] for name in ("pq", "sq", "rq")] == [1, 1, 1]
        n = {c["class_id"]: c["true_positives"] for c in perfect["classes"]}
        renamed = compared(tmp_path, *self.prediction(tmp_path / "b", rename), name="b/out")["panoptic"]
        by_id = {c["class_id"]: c for c in renamed["classes"]}
        assert by_id[1]["pq"] == pytest.approx((n[1] - 1) / (n[1] - 0.5), abs=1e-12)
        assert (by_id[3]["pq"], by_id[3]["false_positives"]) == (0, 1)
        assert renamed["stuff"]["pq"] == 1
        assert renamed["things"]["n_classes"] == perfect["things"]["n_classes"] + 1

    def test_every_image_must_be_there(self, tmp_path):
        files = self.prediction(tmp_path, lambda content, _: content["annotations"].pop())
        with pytest.raises(EvaluationError, match="1 of 2 images have no prediction"):
            compared(tmp_path, *files)
        shutil.rmtree(tmp_path / "found")
        with pytest.raises(
            EvaluationError, match=r"found\.json needs its PNGs in .*found/, which is not there"
        ):
            compared(tmp_path, *files)


@pytest.mark.skipif(not BDD.is_dir(), reason="the reference data is not on this machine")
@pytest.mark.parametrize(
    ("folder", "expected"),
    [("gt", (66.4627888, 68.3518371, 85.2941176)), ("gt+", (49.3852361, 68.3518371, 62.3529412))],
)
def test_the_cases_of_bdd100k(tmp_path, folder, expected):
    scores = compared(tmp_path, BDD / "pred", BDD / folder)
    found = [100 * scores["panoptic"]["overall"][name] for name in ("pq", "sq", "rq")]
    assert found == pytest.approx(expected, abs=1e-7)
    assert ("Images without a prediction: 1" in " ".join(scores["notes"])) == (folder == "gt+")


def test_panoptic_intervals_come_from_images(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("true", "found"):
        (tmp_path / name).mkdir()
    for n in range(6):
        pixels = np.zeros((12, 12, 4), np.uint8)
        pixels[:, :6], pixels[:, 6:] = (7, 0, 0, 1), (35, 0, 0, 2)
        Image.fromarray(pixels).save(tmp_path / f"true/{n}.png")
        Image.fromarray(np.roll(pixels, rng.integers(0, 3), axis=1)).save(tmp_path / f"found/{n}.png")
    overall = compared(tmp_path, tmp_path / "found", tmp_path / "true")["panoptic"]["overall"]
    low, high = overall["intervals"]["pq"]
    assert low < overall["pq"] < high


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "is no JSON"),
        ("[1, 2]", "is JSON, but neither GeoJSON nor COCO's"),
        ('{"annotations": [{"bbox": []}], "images": []}', "is JSON, but neither GeoJSON nor COCO's"),
        (
            '[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}]',
            "neither GeoJSON nor COCO's",
        ),
    ],
)
def test_other_json_is_refused_in_one_line(tmp_path, content, text):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(EvaluationError, match=text) as refused:
        compared(tmp_path, tmp_path / "a.json", tmp_path / "a.json")
    assert "\n" not in str(refused.value)


def test_what_does_not_go_together_is_refused(buildings, tmp_path):
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(
        EvaluationError,
        match=r"results\.json is COCO results, true\.gpkg is polygons or points: expected a reference that is COCO inst",
    ):
        compared(tmp_path, tmp_path / "results.json", buildings[1])
    with pytest.raises(
        EvaluationError, match="--boundary means nothing where the prediction is polygons or points"
    ):
        compared(tmp_path, *buildings, "--boundary", "3px")
    with pytest.raises(EvaluationError, match=r"--iou is '0\.5,2', expected numbers above 0 and up to 1"):
        compared(tmp_path, *buildings, "--iou", "0.5,2")
    with pytest.raises(
        EvaluationError, match="Class rasters by the name of the image are scored by --benchmark"
    ):
        compared(tmp_path, tmp_path, buildings[1])


def test_options_of_the_other_way_are_refused(buildings, tmp_path):
    with pytest.raises(EvaluationError, match="--model means nothing without --benchmark"):
        compared(tmp_path, *buildings, "--model", "spectral-rules")
    with pytest.raises(EvaluationError, match="--places means nothing with --benchmark"):
        evaluated(tmp_path / "out", "--benchmark", "loveda", "--root", tmp_path, "--places", buildings[1])
    with pytest.raises(EvaluationError, match="Give --prediction and --reference, or --benchmark and --root"):
        evaluated(tmp_path / "out", "--prediction", buildings[0])


@pytest.mark.parametrize(("part", "key"), [("images", "height"), ("categories", "id")])
def test_coco_json_that_lacks_something_is_refused(tmp_path, part, key):
    truth, results = coco_scene(0)
    del truth[part][0][key]
    with pytest.raises(EvaluationError, match=f"Some of the {part} lack {key}"):
        compared(tmp_path, *TestCocoInstances().files(tmp_path, truth, results))


def test_the_terminal_shows_what_was_scored(buildings, tmp_path):
    _, said = evaluated(tmp_path / "a", "--prediction", buildings[0], "--reference", buildings[1])
    for text in ("made up", "house", "f1 from IoU 0.5", "AP75"):
        assert text in said
    truth, results = coco_scene(0)
    files = TestCocoInstances().files(tmp_path, truth, results)
    _, said = evaluated(tmp_path / "b", "--prediction", files[0], "--reference", files[1])
    for text in ("AP50", "cat", "mean"):
        assert text in said


@pytest.mark.parametrize(
    ("part", "change", "text"),
    [
        ("results", {"score": "high"}, "score 'high'"),
        ("results", {"score": float("nan")}, "score 'nan'"),
        ("results", {"segmentation": None}, "segmentation"),
        ("results", {"segmentation": [["a"] * 6]}, "segmentation"),
        ("results", {"segmentation": [3]}, "segmentation"),
        ("results", {"segmentation": {"size": "44", "counts": [0, 16]}}, "segmentation"),
        ("results", {"image_id": [1]}, "image_id"),
        ("results", {"category_id": "1"}, "category_id"),
        ("categories", {"color": "red"}, "color 'red'"),
        ("categories", {"color": [1, 2, 300]}, "color"),
        ("images", {"height": "tall"}, "height 'tall'"),
        ("annotations", {"image_id": None}, "image_id"),
    ],
)
def test_entries_of_coco_json_that_are_broken_are_one_line(tmp_path, part, change, text):
    truth, results = coco_scene(0)
    (results if part == "results" else truth[part])[0].update(change)
    with pytest.raises(EvaluationError, match=f"Entry 0 of the {part} has {text}") as error:
        compared(tmp_path, *TestCocoInstances().files(tmp_path, truth, results))
    assert "\n" not in str(error.value)


def test_a_reference_without_annotations_is_one_of_instances(tmp_path):
    truth, results = coco_scene(0)
    files = TestCocoInstances().files(tmp_path, truth | {"annotations": []}, results)
    assert compared(tmp_path, *files)["compared"] == 0


def test_a_confidence_that_is_no_number_is_refused(buildings, tmp_path):
    layer = gpd.read_file(buildings[0])
    layer["confidence"] = ["high"] + ["0.5"] * (len(layer) - 1)
    layer.to_file(tmp_path / "text.gpkg")
    with pytest.raises(
        EvaluationError, match=r"text\.gpkg, confidence is 'high' somewhere, expected numbers"
    ):
        compared(tmp_path, tmp_path / "text.gpkg", buildings[1])
    layer["confidence"] = [str(n / 100) for n in range(len(layer))]
    layer.to_file(tmp_path / "numbers.gpkg")
    assert compared(tmp_path, tmp_path / "numbers.gpkg", buildings[1])["objects"]["ap"] is not None


def test_what_a_crosswalk_names_and_nothing_has_is_said(buildings, tmp_path):
    kinds = set(gpd.read_file(buildings[1]).class_name)
    lines = "".join(f'"{kind}" = "{kind}"\n' for kind in kinds)
    (tmp_path / "c.toml").write_text(f'[reference]\n{lines}"castle" = "ignore"\n')
    notes = compared(tmp_path, *buildings, "--crosswalk", tmp_path / "c.toml")["notes"]
    assert "The crosswalk names castle, which true.gpkg has not where it is compared." in notes


def test_names_with_brackets_are_shown_as_they_are(tmp_path):
    truth, results = coco_scene(0)
    truth["categories"][0]["name"] = "stop [/sign]"
    prediction, reference = TestCocoInstances().files(tmp_path, truth, results)
    prediction = prediction.rename(prediction.with_name("pred[draft].json"))
    out = tmp_path / "out"
    shown = CliRunner().invoke(
        app, ["evaluate", "--prediction", str(prediction), "--reference", str(reference), "--out", str(out)]
    )
    assert shown.exception is None
    assert "stop [/sign]" in shown.output
    assert "pred[draft].json against" in shown.output


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/sub cannot be written: .*file is no folder"):
        evaluated(tmp_path / "file/sub", "--prediction", tmp_path / "none", "--reference", tmp_path / "none")


def test_nothing_half_written_stays(buildings, tmp_path, monkeypatch):
    def full(self, *args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        evaluated(tmp_path / "out", "--prediction", buildings[0], "--reference", buildings[1])
    assert list((tmp_path / "out").iterdir()) == []


def test_an_unknown_crs_of_a_table_is_one_line(tmp_path):
    with rasterio.open(
        tmp_path / "map.tif", "w", driver="GTiff", count=1, dtype="uint8", width=4, height=4, crs="EPSG:32633",
        transform=rasterio.transform.from_origin(500_000, 5_000_000, 10, 10),
    ) as target:  # fmt: skip
        target.write(np.ones((1, 4, 4), np.uint8))
    (tmp_path / "l.toml").write_text('[[classes]]\nvalue = 1\nname = "water"\n')
    (tmp_path / "p.csv").write_text("x,y,class\n500005,4999995,1\n")
    given = (tmp_path / "map.tif", tmp_path / "p.csv", "--legend", tmp_path / "l.toml")
    with pytest.raises(EvaluationError, match=r"--crs EPSG:99999999 is no CRS\. Give a code"):
        compared(tmp_path, *given, "--crs", "EPSG:99999999")
    assert compared(tmp_path, *given, "--crs", "EPSG:32633")["overall"]["pixel_accuracy"] == 1


def test_a_calibration_on_a_set_with_brackets_is_shown(capsys):
    print_calibration(
        measured(None).model_copy(update={"measured_on": "set [/x], val"}),
        Path("item.json"),
        classes=["a", "b", "c"],
    )
    assert "Calibration on set [/x], val" in capsys.readouterr().out
