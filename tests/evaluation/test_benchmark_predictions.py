"""Predictions of a benchmark made elsewhere, through the command: scores of the makers' own cases and tools."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from builders import as_image, model_folder
from coco_masks import decode_mask, write_coco
from coco_scores import coco_stats
from odc.geo.geobox import GeoBox
from PIL import Image
from typer.testing import CliRunner

from geoseg.cli.main import app
from geoseg.errors import EvaluationError
from geoseg.evaluation.benchmark import BENCHMARKS, Benchmark, Sample
from geoseg.evaluation.benchmark_images import plan_for
from geoseg.evaluation.boundary import boundary_distance, boundary_iou, count_boundary, count_trimap
from geoseg.evaluation.confusion import count
from geoseg.evaluation.metrics import iou, mean_of_defined
from geoseg.evaluation.objects.rle import encode_mask
from geoseg.inference.predictor import predict
from geoseg.inference.runner import Inference
from geoseg.legend import Legend
from geoseg.models.zoo import create_model

SEG = Path(__file__).parents[2] / "../shared/data/reference/bdd100k/tests/eval/testcases/seg"
LEGEND = Legend.of(water="1F78B4", tree="33A02C", other="000000")


def scored(tmp_path, name, prediction, *args):
    folder = tmp_path / "scores"
    command = ["evaluate", "--benchmark", name, "--root", tmp_path, "--prediction", prediction, *args]
    result = CliRunner().invoke(app, [*map(str, command), "--out", str(folder), "--overwrite", "-q"])
    if result.exception is not None:
        raise result.exception
    assert (folder / "scores.html").is_file()
    return json.loads((folder / "scores.json").read_text())


def picture(path, shape):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*shape, 3), np.uint8)).save(path)


def png(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


@pytest.mark.skipif(not SEG.is_dir(), reason="the reference data is not on this machine")
@pytest.mark.parametrize(
    ("folder", "expected"), [("gt", (95.0, 61.7346939, 90.9183673)), ("gt+", (47.5, 31.9110577, 46.4543273))]
)
def test_the_cases_of_bdd100k(tmp_path, folder, expected):
    """Pixel accuracy, mIoU over the classes of the reference and fwIoU, with and without a missing image."""
    for file in (SEG / folder).glob("*.png"):
        labels = np.asarray(Image.open(file))
        picture(tmp_path / f"images/10k/val/{file.stem}.jpg", labels.shape)
        png(tmp_path / f"labels/sem_seg/masks/val/{file.stem}.png", labels)
    scores = scored(tmp_path, "bdd100k", SEG / "pred")
    of_reference = np.mean([c["iou"] for c in scores["classes"] if c["support"]])
    found = (scores["overall"]["pixel_accuracy"], of_reference, scores["overall"]["fwiou"])
    assert 100 * np.array(found) == pytest.approx(expected, abs=1e-6)
    assert any("Images without a prediction: 1" in note for note in scores["notes"]) == (folder == "gt+")
    assert scores["efficiency"] is None


@pytest.fixture
def tiny(tmp_path):
    """Six images in three places, labels and predictions of them, and a class that is not averaged."""
    rng = np.random.default_rng(5)
    labels = [rng.integers(0, 3, (5, 6)).repeat(6, 0).repeat(6, 1).astype(np.uint8) for _ in range(6)]
    found = [
        np.where(rng.random(a.shape) < 0.1, rng.integers(0, 3, a.shape), a).astype(np.uint8) for a in labels
    ]
    for image in labels:
        image[:2, :3] = 255
    samples = [
        Sample(f"i{n}", f"p{n // 2}", lambda n=n: np.zeros((3, *labels[n].shape)), lambda n=n: labels[n])
        for n in range(6)
    ]
    for n, image in enumerate(found):
        png(tmp_path / f"found/i{n}.png", image)
    BENCHMARKS.register("tiny-set")(
        Benchmark(
            name="tiny-set", title="Tiny", legend=LEGEND, bands=("red",), splits=("val",), home="nowhere",
            license="none", layout="", find=lambda root, split: samples, source="made up", gsd_m=5.0,
            unaveraged=("other",),
        )
    )  # fmt: skip
    yield labels, found, tmp_path / "found"
    del BENCHMARKS._things["tiny-set"]


def test_a_class_that_the_sets_tool_does_not_average_is_in_no_mean(tiny, tmp_path):
    """As FLAIR's generate_miou.py: the mean leaves the last IoU out, the matrix has its pixels."""
    labels, found, folder = tiny
    scores = scored(tmp_path, "tiny-set", folder)
    a, b = np.concatenate(labels), np.concatenate(found)
    matrix = np.array([[((a == i) & (b == j)).sum() for j in range(3)] for i in range(3)])
    assert scores["confusion"] == matrix.tolist()
    ious = np.diag(matrix) / (matrix.sum(0) + matrix.sum(1) - np.diag(matrix))
    assert scores["overall"]["miou"] == pytest.approx(ious[:-1].mean(), abs=1e-12)
    assert scores["overall"]["mean_accuracy"] == pytest.approx((np.diag(matrix) / matrix.sum(1))[:-1].mean())
    assert scores["overall"]["pixel_accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum(), abs=1e-12)
    assert [c["iou"] for c in scores["classes"]] == pytest.approx(ious, abs=1e-12)
    assert scores["unaveraged"] == ["other"]
    assert [p["place"] for p in scores["places"]] == ["p0", "p1", "p2"]


def test_boundaries_of_images_are_counted_one_by_one(tiny, tmp_path):
    labels, found, folder = tiny
    overall = scored(tmp_path, "tiny-set", folder, "--boundary", "4%")["overall"]
    distance = boundary_distance(labels[0].shape, ratio_of_diagonal=0.04)
    pairs = list(zip(labels, found, strict=True))
    near = sum(count_boundary(a, b, n_classes=3, distance=distance) for a, b in pairs)
    band = sum(count_trimap(a, b, n_classes=3, distance=distance) for a, b in pairs)
    assert overall["boundary_miou"] == pytest.approx(mean_of_defined(boundary_iou(near)[:-1]), abs=1e-12)
    assert overall["trimap_miou"] == pytest.approx(mean_of_defined(iou(band)[:-1]), abs=1e-12)
    in_metres = scored(tmp_path, "tiny-set", folder, "--boundary", f"{distance * 5}m")["overall"]
    assert in_metres == overall


def test_geotiffs_and_other_numbers_by_a_crosswalk(tiny, tmp_path):
    _, found, folder = tiny
    expected = scored(tmp_path, "tiny-set", folder)
    (tmp_path / "numbers").mkdir()
    for n, image in enumerate(found):
        with rasterio.open(
            tmp_path / f"numbers/i{n}.tif", "w", driver="GTiff", count=1, dtype="uint8", width=36, height=30
        ) as target:
            target.write(image + 10, 1)
    with pytest.raises(EvaluationError, match=r"i0\.tif holds 1\d, which is no class of Tiny"):
        scored(tmp_path, "tiny-set", tmp_path / "numbers")
    (tmp_path / "cross.toml").write_text('[prediction]\n"10" = "water"\n"11" = "tree"\n"12" = "other"\n')
    scores = scored(tmp_path, "tiny-set", tmp_path / "numbers", "--crosswalk", tmp_path / "cross.toml")
    assert scores["confusion"] == expected["confusion"]


def test_missing_predictions_are_refused_unless_the_sets_tool_counts_them(tiny, tmp_path):
    folder = tiny[2]
    (folder / "i3.png").unlink()
    with pytest.raises(EvaluationError, match=r"lacks 1 of 6 predictions \(first: i3\.png\)"):
        scored(tmp_path, "tiny-set", folder)
    png(folder / "i3.png", np.zeros((3, 3)))
    with pytest.raises(EvaluationError, match=r"i3\.png has 3 x 3 pixels, its labels 36 x 30"):
        scored(tmp_path, "tiny-set", folder)
    (tmp_path / "r.json").write_text("[]")
    with pytest.raises(EvaluationError, match="Split val of Tiny has no instances to score"):
        scored(tmp_path, "tiny-set", tmp_path / "r.json")
    with pytest.raises(EvaluationError, match="--model means nothing with --prediction"):
        scored(tmp_path, "tiny-set", folder, "--model", "spectral-rules")


def test_a_class_of_a_prediction_that_is_ignored_is_not_compared(tiny, tmp_path):
    labels, found, folder = tiny
    (tmp_path / "cross.toml").write_text('[prediction]\nother = "ignore"\n')
    scores = scored(tmp_path, "tiny-set", folder, "--crosswalk", tmp_path / "cross.toml")
    a, b = np.concatenate(labels), np.concatenate(found)
    assert scores["compared"] == ((a != 255) & (b != 2)).sum()
    assert scores["left_out"] == ((a == 255) | (b == 2)).sum()
    assert sum(scores["unpredicted"]) == 0
    assert scores["overall"]["pixel_accuracy"] == pytest.approx((a == b)[(a != 255) & (b != 2)].mean())


@pytest.mark.parametrize("layout", ["flat", "nested", "elsewhere", "one twice", "none"])
def test_predictions_of_images_in_folders(tmp_path, layout):
    """Ids are paths, such as images/000: so may predictions be, or by the last part where that is enough."""
    rng = np.random.default_rng(0)
    for n in range(3):
        values = rng.integers(0, 2, (8, 8)).astype(np.uint8)
        for name, kind in (("images", np.uint16), ("labels", np.uint8)):
            path = tmp_path / f"set/{name}/{n:03}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            with rasterio.open(path, "w", driver="GTiff", count=1, dtype=kind, width=8, height=8) as target:
                target.write(values.astype(kind), 1)
        if layout != "none":
            below = {"flat": "", "nested": "images/", "elsewhere": "of/mine/", "one twice": "a/"}[layout]
            png(tmp_path / f"pred/{below}{n:03}.png", values)
    if layout == "one twice":
        png(tmp_path / "pred/b/001.png", np.zeros((8, 8)))
    (tmp_path / "pred").mkdir(exist_ok=True)
    (tmp_path / "own.toml").write_text(
        'name = "own"\nbands = ["red"]\nscale = 1\nimages = "images/{n}.tif"\nlabels = "labels/{n}.tif"\n'
        '[[classes]]\nname = "a"\nvalues = [0]\n[[classes]]\nname = "b"\nvalues = [1]\n'
    )
    command = ["evaluate", "--benchmark", tmp_path / "own.toml", "--root", tmp_path / "set"]
    command += ["--prediction", tmp_path / "pred", "--out", tmp_path / "out", "-q"]
    result = CliRunner().invoke(app, [*map(str, command)])
    if layout in ("one twice", "none"):
        expected = {"one twice": "holds 001 twice", "none": r"first: images/000\.png"}[layout]
        with pytest.raises(EvaluationError, match=expected):
            raise result.exception
    else:
        assert json.loads((tmp_path / "out/scores.json").read_text())["overall"]["pixel_accuracy"] == 1


@pytest.mark.parametrize("option", [("--tta", "d4"), ("--device", "cuda")])
def test_options_of_models_mean_nothing_for_predictions(tiny, tmp_path, option):
    with pytest.raises(EvaluationError, match=f"{option[0]} means nothing with --prediction"):
        scored(tmp_path, "tiny-set", tiny[2], *option)


def test_a_model_is_scored_with_turns_by_the_command(tiny, tmp_path):
    """Scores with --tta are those of the engine's own maps with it."""
    labels, *_ = tiny
    rng = np.random.default_rng(1)
    bands = ("green", "red", "nir", "swir16")
    pixels = [np.rint(rng.random((4, 30, 36)) * 6000).astype(np.uint16) for _ in labels]
    own = BENCHMARKS["tiny-set"]
    samples = [
        Sample(f"i{n}", f"p{n}", lambda n=n: pixels[n], lambda n=n: labels[n]) for n in range(len(labels))
    ]
    classes = Legend.of(first="1F78B4", second="33A02C", third="D7191C")
    BENCHMARKS._things["tiny-set"] = replace(
        own, bands=bands, scale=1e-4, find=lambda root, split: samples, legend=classes, unaveraged=()
    )
    folder = model_folder(tmp_path / "model", halo=8)
    out = tmp_path / "scores.d"
    command = ["evaluate", "--benchmark", "tiny-set", "--root", tmp_path, "--model", folder, "--limit", 2]
    found = {}
    for tta in ("none", "flip"):
        result = CliRunner().invoke(
            app, [*map(str, command), "--tta", tta, "--out", str(out / tta), "-q", "--json"]
        )
        assert result.exit_code == 0, result.output
        found[tta] = json.loads((out / tta / "scores.json").read_text())
    assert found["flip"]["efficiency"]["latency_median_s"] > 0
    assert found["flip"]["confusion"] != found["none"]["confusion"]
    model, plane = create_model(str(folder)), GeoBox((30, 36), Affine.scale(5, -5), "EPSG:6933")
    images = {n: as_image(pixels[n] * np.float32(1e-4), plane, bands) for n in (0, 5)}
    counts = sum(
        count(
            labels[n],
            predict(
                image, model=model, plan=plan_for(image, model.card), how=Inference(tta="flip")
            ).class_id.to_numpy(),
            n_classes=3,
        )
        for n, image in images.items()
    )
    assert found["flip"]["confusion"] == counts[:, :3].tolist()
    assert "--tta flip" in " ".join(found["flip"]["notes"])


def overlapping(rng, n=6, shape=(20, 24)):
    masks = np.zeros((n, *shape), bool)
    for mask in masks:
        row, col, height, width = *rng.integers(0, 12, 2), *rng.integers(3, 9, 2)
        mask[row : row + height, col : col + width] = True
    return masks


@pytest.mark.parametrize("naming", ["number", "name", "file"])
def test_masks_of_sa_1b_are_scored_whatever_their_class(tmp_path, naming):
    pytest.importorskip("pycocotools")
    rng = np.random.default_rng(0)
    truth, results = {"images": [], "annotations": [], "categories": [{"id": 1}]}, []
    for n in (11, 205):
        masks = overlapping(rng)
        entries = [{"id": k, "segmentation": write_coco(encode_mask(mask))} for k, mask in enumerate(masks)]
        picture(tmp_path / f"sa_{n}.jpg", masks.shape[1:])
        (tmp_path / f"sa_{n}.json").write_text(json.dumps({"image": {}, "annotations": entries}))
        truth["images"].append({"id": n, "height": 20, "width": 24})
        for mask in masks:
            rle = write_coco(encode_mask(mask))
            number = len(truth["annotations"]) + 1
            truth["annotations"].append(
                {
                    "id": number,
                    "image_id": n,
                    "category_id": 1,
                    "iscrowd": 0,
                    "area": int(mask.sum()),
                    "segmentation": rle,
                }
            )
            off = np.roll(mask, rng.integers(-1, 2, 2), axis=(0, 1))
            score = float(rng.choice([0.2, 0.5, 0.8]))
            results.append(
                {
                    "image_id": n,
                    "category_id": 1,
                    "score": score,
                    "segmentation": write_coco(encode_mask(off)),
                }
            )
    key, value = {
        "number": ("image_id", lambda n: n), "name": ("image_id", lambda n: f"sa_{n}"),
        "file": ("file_name", lambda n: f"images/sa_{n}.jpg"),
    }[naming]  # fmt: skip
    given = [
        {key: value(r["image_id"]), "category_id": k, "score": r["score"], "segmentation": r["segmentation"]}
        for k, r in enumerate(results)
    ]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(given))
    found = scored(tmp_path, "sa-1b", path)["instances"]
    means, _ = coco_stats(truth, results, use_categories=False, max_predictions=1000)
    assert [found[name] for name in ("ap", "ap50", "ap75", "ar")] == pytest.approx(means, abs=1e-9)
    assert found["max_predictions"] == 1000
    assert 0 < found["ap"] < 1
    given[0][key] = "sa_9"
    path.write_text(json.dumps(given))
    with pytest.raises(EvaluationError, match="has a mask of image 'sa_9', which the split of SA-1B has not"):
        scored(tmp_path, "sa-1b", path)


def test_instances_of_isaid(tmp_path):
    """One colour for each object, black for none; its class is that of most of its pixels."""
    classes, numbers = np.zeros((8, 9), np.uint8), np.zeros((8, 9, 3), np.uint8)
    for at, class_id in ((np.s_[1:4, 1:4], 1), (np.s_[5:8, 2:6], 14), (np.s_[1:3, 6:9], 1)):
        classes[at] = class_id
        numbers[at] = (at[0].start, at[1].start, 200)
    palette = np.array([c.rgb for c in BENCHMARKS["isaid"].legend.classes], np.uint8)
    folder = tmp_path / "val/images"
    picture(folder / "P0003.png", classes.shape)
    png(folder / "P0003_instance_color_RGB.png", palette[classes])
    png(folder / "P0003_instance_id_RGB.png", numbers)
    instances = BENCHMARKS["isaid"].samples(tmp_path)[0].read_instances()
    assert sorted(instances.class_id.tolist()) == [1, 1, 14]
    for mask, class_id in zip(map(decode_mask, instances.masks), instances.class_id, strict=True):
        assert (classes[mask] == class_id).all()
        assert len(np.unique(numbers[mask], axis=0)) == 1
    results = [
        {"image_id": 3, "category_id": int(c), "score": 0.9, "segmentation": write_coco(mask)}
        for mask, c in zip(instances.masks, instances.class_id, strict=True)
    ]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results[1:]))
    scores = scored(tmp_path, "isaid", path)
    by_class = {c["class_name"]: c for c in scores["instances"]["classes"]}
    assert sum(c["support"] for c in by_class.values()) == 3
    assert sorted(c["ar"] for c in by_class.values() if c["ar"] is not None) in ([0.5, 1], [0, 1])
    assert any("reference has none: background, storage_tank" in note for note in scores["notes"])
    path.write_text(json.dumps([results[0] | {"category_id": 99}]))
    with pytest.raises(EvaluationError, match="has category_id 99, which is no class value of the benchmark"):
        scored(tmp_path, "isaid", path)


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_classes_that_are_not_averaged_are_classes(name):
    benchmark = BENCHMARKS[name]
    assert set(benchmark.unaveraged) < {c.name for c in benchmark.legend.classes}


def test_sets_whose_tools_leave_classes_out_of_means():
    left_out = {name: BENCHMARKS[name].unaveraged for name in BENCHMARKS if BENCHMARKS[name].unaveraged}
    assert left_out == {
        "flair-1": ("other",),
        "isprs-potsdam": ("clutter/background",),
        "isprs-vaihingen": ("clutter/background",),
    }
