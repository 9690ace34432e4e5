"""Benchmarks of scenes and streets: miniatures in their true layout, with every kind of label.

The tables of classes were compared with the sources that the modules name; what is checked here is that files
in the published layout are found, paired and read by those tables, and scored as the makers' tools score them.
"""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from coco_masks import decode_mask, write_coco
from PIL import Image

from geoseg.errors import EvaluationError
from geoseg.evaluation.benchmark import BENCHMARKS, IGNORE, check
from geoseg.evaluation.confusion import count, indices
from geoseg.evaluation.label_files import voc_color
from geoseg.evaluation.metrics import fwiou, iou, mean_of_defined, miou, pixel_accuracy, precision
from geoseg.evaluation.objects.instances import match_instances
from geoseg.evaluation.objects.matching import average_precision
from geoseg.evaluation.objects.rle import encode_mask

REFERENCE = Path(__file__).parents[3] / "../shared/data/reference/bdd100k/tests/eval/testcases/seg"
VOC_PALETTE = [int(voc_color(n)[i : i + 2], 16) for n in range(256) for i in (0, 2, 4)]


def picture(path, shape=(4, 5), *, grey=False, seed=0):
    """A JPEG or PNG of that (height, width); its file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = shape if grey else (*shape, 3)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, size, np.uint8)).save(path)
    return path


def png(path, numbers, *, palette=None):
    """A PNG of one channel, with a palette when given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(numbers, np.uint8))
    if palette:
        image.putpalette(palette)
    image.save(path)
    return path


def only(name, root, split):
    """The one sample of a split."""
    (sample,) = BENCHMARKS[name].samples(root, split)
    return sample


def cityscapes(root, *, folder="val", kind="gtFine", city="ulm", frame="000000_000019", numbers=((7, 0),)):
    stem = f"{folder}/{city}/{city}_{frame}"
    picture(root / f"leftImg8bit/{stem}_leftImg8bit.png", np.shape(numbers))
    return png(root / f"{kind}/{stem}_{kind}_labelIds.png", numbers)


class TestCityscapes:
    def test_label_ids_become_train_ids(self, tmp_path):
        cityscapes(tmp_path, numbers=np.arange(34).reshape(2, 17))
        sample = only("cityscapes", tmp_path, "val")
        assert (sample.id, sample.place) == ("ulm_000000_000019", "ulm")
        assert sample.read_image().shape == (3, 2, 17)
        by_id = dict(enumerate(sample.read_labels().ravel().tolist()))
        scored = {i: v for i, v in by_id.items() if v != IGNORE}
        assert scored == {
            7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13,
            27: 14, 28: 15, 31: 16, 32: 17, 33: 18,
        }  # fmt: skip

    def test_fine_and_coarse_are_splits(self, tmp_path):
        cityscapes(tmp_path)
        cityscapes(tmp_path, kind="gtCoarse", numbers=[[8, 0]])
        cityscapes(tmp_path, kind="gtCoarse", folder="train_extra", city="bochum")
        cityscapes(tmp_path, folder="test", city="berlin")
        read = {s: only("cityscapes", tmp_path, s).read_labels for s in ("val", "val_coarse", "train_extra")}
        assert {s: r().tolist() for s, r in read.items()} == {
            "val": [[0, 255]],
            "val_coarse": [[1, 255]],
            "train_extra": [[0, 255]],
        }
        assert only("cityscapes", tmp_path, "test").read_labels is None

    def test_a_missing_label_is_named_and_counted(self, tmp_path):
        for frame in ("000000_000019", "000001_000019", "000002_000019"):
            lost = cityscapes(tmp_path, frame=frame)
        lost.unlink()
        with pytest.raises(
            EvaluationError,
            match=r"lacks 1 of the 3 files gtFine/val/\*_gtFine_labelIds.png \(first: gtFine/val/ulm/"
            r"ulm_000002_000019_gtFine_labelIds.png\) of Cityscapes. Get it from https://www.cityscapes",
        ):
            BENCHMARKS["cityscapes"].samples(tmp_path, "val")
        found = {s.split: s for s in check(BENCHMARKS["cityscapes"], tmp_path)}
        assert (found["val"].n_images, found["val"].n_labels, found["val"].is_complete) == (3, 2, False)
        assert (found["train"].n_images, found["train"].n_labels) == (0, 0)

    def test_converted_labels_are_refused(self, tmp_path):
        cityscapes(tmp_path, numbers=[[0, 18, 255]])
        with pytest.raises(EvaluationError, match="holds 255, expected only 0 to 33"):
            only("cityscapes", tmp_path, "val").read_labels()

    def test_scores_are_those_of_the_makers_scripts(self, tmp_path):
        tool = pytest.importorskip(
            "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling",
            reason="cityscapesscripts is absent",
        )
        ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
        rng = np.random.default_rng(3)
        tool.args.evalInstLevelScore, tool.args.quiet, tool.CSUPPORT = False, True, False
        matrix = tool.generateMatrix(tool.args)
        counts = 0
        for number in range(3):
            truth = rng.choice(31, (40, 50)).astype(np.uint8)
            answer = np.where(rng.random(truth.shape) < 0.6, truth, rng.choice(31, truth.shape)).astype(
                np.uint8
            )
            gt = cityscapes(tmp_path, frame=f"00000{number}_000019", numbers=truth)
            answered = png(tmp_path / "answers" / gt.name, answer)
            tool.evaluatePair(str(answered), str(gt), matrix, None, {}, tool.args)
            sample = BENCHMARKS["cityscapes"].samples(tmp_path, "val")[number]
            counts = counts + count(sample.read_labels(), indices(answer, ids), n_classes=19)
        theirs = {i: tool.getIouScoreForLabel(i, matrix, tool.args) for i in tool.args.evalLabels}
        assert iou(counts) == pytest.approx([theirs[i] for i in ids], abs=1e-12, nan_ok=True)
        assert np.isnan(theirs[33])
        assert miou(counts) == pytest.approx(tool.getScoreAverage(theirs, tool.args), abs=1e-12)


def test_the_makers_table_of_cityscapes():
    labels = pytest.importorskip("cityscapesscripts.helpers.labels", reason="cityscapesscripts is absent")
    from geoseg.evaluation.benchmarks.cityscapes import TABLE

    legend = BENCHMARKS["cityscapes"].legend
    theirs = [labels.trainId2label[c.value] for c in legend.classes]
    assert [(c.name, c.rgb) for c in legend.classes] == [(label.name, label.color) for label in theirs]
    for label in labels.labels:
        if label.id >= 0:
            assert TABLE[label.id] == (IGNORE if label.ignoreInEval else label.trainId), label.name


def voc(root, **lists):
    """VOC's folder with a list per split; each picture's label is [[number of the picture, 255, 0]]."""
    for split, ids in lists.items():
        path = root / f"ImageSets/Segmentation/{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{i}\n" for i in ids))
        for i in ids:
            picture(root / f"JPEGImages/{i}.jpg", (1, 3))
            if split in ("train", "val"):
                png(root / f"SegmentationClass/{i}.png", [[int(i[-2:]), 255, 0]], palette=VOC_PALETTE)
    return root


class TestPascalVoc:
    def test_palette_pngs_are_read_by_index_and_borders_are_void(self, tmp_path):
        voc(tmp_path / "VOCdevkit/VOC2012", val=["2007_000020", "2007_000001"], test=["2008_000006"])
        samples = BENCHMARKS["pascal-voc-2012"].samples(tmp_path)
        assert [s.id for s in samples] == ["2007_000001", "2007_000020"]
        assert samples[1].read_labels().tolist() == [[20, 255, 0]]
        assert only("pascal-voc-2012", tmp_path, "test").read_labels is None

    def test_the_palette_is_that_of_the_legend(self):
        legend = BENCHMARKS["pascal-voc-2012"].legend
        assert [c.color_hint for c in legend.classes][:4] == ["000000", "800000", "008000", "808000"]
        assert (legend.classes[15].name, legend.classes[15].rgb) == ("person", (192, 128, 128))
        assert (legend.classes[20].name, legend.classes[20].rgb) == ("tvmonitor", (0, 64, 128))

    def test_labels_in_colours_are_refused(self, tmp_path):
        voc(tmp_path, val=["2007_000001"])
        picture(tmp_path / "SegmentationClass/2007_000001.png")
        with pytest.raises(EvaluationError, match="holds RGB pixels, expected class numbers in one channel"):
            only("pascal-voc-2012", tmp_path, "val").read_labels()

    def test_a_listed_picture_must_be_there(self, tmp_path):
        voc(tmp_path, val=["2007_000001", "2007_000002"])
        (tmp_path / "JPEGImages/2007_000002.jpg").unlink()
        with pytest.raises(EvaluationError, match=r"lacks 1 of the 2 files JPEGImages/.*2007_000002\.jpg"):
            BENCHMARKS["pascal-voc-2012"].samples(tmp_path)

    @pytest.mark.parametrize("compressed", [True, False])
    def test_the_larger_train_set_from_sbd(self, tmp_path, compressed):
        scipy_io = pytest.importorskip("scipy.io", reason="scipy, which writes MATLAB files, is absent")
        voc(tmp_path / "VOCdevkit/VOC2012", train=["2007_000003"], val=["2007_000004"], more=["2008_000005"])
        folder = tmp_path / "benchmark_RELEASE/dataset"
        (folder / "cls").mkdir(parents=True)
        (folder / "train.txt").write_text("2007_000003\n2007_000004\n")
        (folder / "val.txt").write_text("2008_000005\n")
        numbers = np.array([[5, 0, 0], [0, 5, 20]], np.uint8)
        for i in ("2007_000003", "2007_000004", "2008_000005"):
            structure = {
                "Boundaries": np.array([[np.zeros((2, 3))]], object),
                "Segmentation": numbers,
                "CategoriesPresent": np.array([[5], [20]], np.uint8),
            }
            scipy_io.savemat(folder / f"cls/{i}.mat", {"GTcls": structure}, do_compression=compressed)
        samples = BENCHMARKS["pascal-voc-2012"].samples(tmp_path, "train_aug")
        assert {s.id: s.read_labels().tolist() for s in samples} == {
            "2007_000003": [[3, 255, 0]],  # VOC's own, with its borders
            "2008_000005": numbers.tolist(),
        }
        (folder / "cls/2008_000005.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(600))
        with pytest.raises(EvaluationError, match=r"2008_000005\.mat is not a MATLAB 5 file of SBD"):
            samples[1].read_labels()

    def test_the_larger_train_set_from_pngs(self, tmp_path):
        voc(tmp_path, train=["2007_000003"], trainaug=["2008_000005", "2007_000003"])
        for i in ("2008_000005", "2007_000003"):
            png(tmp_path / f"SegmentationClassAug/{i}.png", [[9, 255]])
        samples = BENCHMARKS["pascal-voc-2012"].samples(tmp_path, "train_aug")
        assert [s.read_labels().tolist() for s in samples] == [[[3, 255, 0]], [[9, 255]]]

    def test_sbd_is_named_when_it_is_missing(self, tmp_path):
        voc(tmp_path, train=["2007_000003"], val=["2007_000004"])
        with pytest.raises(
            EvaluationError, match=r"lacks benchmark_RELEASE/dataset.*Semantic Boundaries.*berkeley"
        ):
            BENCHMARKS["pascal-voc-2012"].samples(tmp_path, "train_aug")


class TestAde20k:
    def test_zero_is_not_scored_and_numbers_start_at_one(self, tmp_path):
        root = tmp_path / "ADEChallengeData2016"
        picture(root / "images/validation/ADE_val_00000001.jpg", (1, 151), grey=True)
        png(root / "annotations/validation/ADE_val_00000001.png", [np.arange(151)])
        sample = only("ade20k", tmp_path, "val")
        assert sample.read_labels().tolist() == [[255, *range(150)]]
        assert sample.read_image().shape == (3, 1, 151)

    def test_labels_with_zero_reduced_already_are_refused(self, tmp_path):
        picture(tmp_path / "images/training/ADE_train_00000001.jpg")
        png(tmp_path / "annotations/training/ADE_train_00000001.png", [[255, 0, 149]])
        with pytest.raises(EvaluationError, match="holds 255, expected only 0 to 150"):
            only("ade20k", tmp_path, "train").read_labels()

    def test_names_are_the_first_of_the_makers(self):
        classes = BENCHMARKS["ade20k"].legend.classes
        assert (classes[12].name, classes[12].rgb) == ("person", (150, 5, 61))
        assert classes[12].description == "individual, someone, somebody, mortal, soul"
        assert (classes[0].name, classes[149].name) == ("wall", "flag")


class TestCocoStuff:
    UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
    """Ids of street sign, hat, shoe, eye glasses, plate, mirror, window, desk, door, blender, hair brush."""

    def write(self, root, numbers):
        picture(root / "images/val2017/000000000139.jpg", np.shape(numbers))
        png(root / "annotations/val2017/000000000139.png", numbers)
        return only("coco-stuff-164k", root, "val")

    def test_ids_less_one_close_their_gaps(self, tmp_path):
        used = [i - 1 for i in range(1, 183) if i not in self.UNUSED]
        labels = self.write(tmp_path, [[*used, 255]]).read_labels()
        assert labels.tolist() == [[*range(171), 255]]
        names = [c.name for c in BENCHMARKS["coco-stuff-164k"].legend.classes]
        assert {names[used.index(i - 1)] for i in (1, 13, 90)} == {"person", "stop sign", "toothbrush"}
        assert {names[used.index(i - 1)] for i in (92, 110, 182)} == {"banner", "desk-stuff", "wood"}

    @pytest.mark.parametrize("number", [11, 90, 182])
    def test_a_number_that_has_no_masks_is_refused(self, tmp_path, number):
        with pytest.raises(
            EvaluationError, match=f"holds {number}, expected only 0 to 10, 12 to 24, 26 to 27"
        ):
            self.write(tmp_path, [[0, number]]).read_labels()


class TestMapillaryVistas:
    def write(self, root, version, numbers):
        picture(root / "validation/images/a.jpg", np.shape(numbers))
        png(root / f"validation/{version}/labels/a.png", numbers, palette=VOC_PALETTE)
        return only(f"mapillary-vistas-{version}", root, "val").read_labels().ravel().tolist()

    def test_v12_leaves_unlabeled_out(self, tmp_path):
        assert self.write(tmp_path, "v1.2", [range(66)]) == [*range(65), 255]

    def test_v20_leaves_groups_and_ambiguous_labels_out(self, tmp_path):
        read = self.write(tmp_path, "v2.0", [range(124)])
        assert [i for i, v in enumerate(read) if v == IGNORE] == [2, 31, 38, 79, 86, 96, 115, 123]
        assert [v for v in read if v != IGNORE] == list(range(116))

    def test_both_versions_share_pictures(self, tmp_path):
        self.write(tmp_path, "v1.2", [[13]])
        assert self.write(tmp_path, "v2.0", [[21]]) == [20]
        names = {
            v: [c.name for c in BENCHMARKS[f"mapillary-vistas-{v}"].legend.classes] for v in ("v1.2", "v2.0")
        }
        assert names["v1.2"][13] == names["v2.0"][20] == "construction--flat--road"

    def test_archives_before_v20_have_no_folder_for_the_version(self, tmp_path):
        self.write(tmp_path, "v1.2", [[13, 65]])
        (tmp_path / "validation/v1.2/labels").rename(tmp_path / "validation/labels")
        (tmp_path / "validation/v1.2").rmdir()
        assert only("mapillary-vistas-v1.2", tmp_path, "val").read_labels().tolist() == [[13, 255]]
        with pytest.raises(EvaluationError, match=r"lacks validation/v2.0/labels/\*\.png"):
            BENCHMARKS["mapillary-vistas-v2.0"].samples(tmp_path)

    def test_the_order_of_the_config_in_the_folder_counts(self, tmp_path):
        names = [c.name for c in BENCHMARKS["mapillary-vistas-v1.2"].legend.classes]
        labels = [{"name": name} for name in [*reversed(names), "void--unlabeled"]]
        (tmp_path / "config_v1.2.json").write_text(json.dumps({"labels": labels}))
        assert self.write(tmp_path, "v1.2", [[0, 64, 65]]) == [64, 0, 255]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"labels": [{"name": "animal--bird"}]}', "lacks the label animal--ground-animal"),
            ("{}", "holds no list of labels"),
        ],
    )
    def test_a_config_of_something_else_is_refused(self, tmp_path, text, message):
        (tmp_path / "config_v1.2.json").write_text(text)
        with pytest.raises(EvaluationError, match=message):
            self.write(tmp_path, "v1.2", [[0]])


def test_kitti_has_the_ids_of_cityscapes(tmp_path):
    for frame in ("000000_10", "000001_10"):
        picture(tmp_path / f"training/image_2/{frame}.png", (1, 4))
        png(tmp_path / f"training/semantic/{frame}.png", [[7, 26, 33, 6]])
        picture(tmp_path / f"testing/image_2/{frame}.png")
    samples = BENCHMARKS["kitti-semantic"].samples(tmp_path)
    assert [s.read_labels().tolist() for s in samples] == [[[0, 13, 18, 255]]] * 2
    tests = BENCHMARKS["kitti-semantic"].samples(tmp_path, "test")
    assert [(s.id, s.read_labels) for s in tests] == [("000000_10", None), ("000001_10", None)]


def bdd100k(root, name, numbers):
    picture(root / f"images/10k/val/{name}.jpg", np.shape(numbers))
    png(root / f"labels/sem_seg/masks/val/{name}.png", numbers)


class TestBdd100k:
    def test_masks_hold_train_ids_and_255(self, tmp_path):
        bdd100k(tmp_path / "bdd100k", "7d2f7975-e0c1c5a7", [[*range(19), 255]])
        assert only("bdd100k", tmp_path, "val").read_labels().tolist() == [[*range(19), 255]]

    @pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference cases of BDD100K are absent")
    @pytest.mark.parametrize(
        ("folder", "expected"),
        [
            ("gt", (95.0, 81.2714776, 61.7346939, 90.9183673)),
            ("gt+", (47.5, 81.2714776, 31.9110577, 46.4543273)),
        ],
    )
    def test_scores_of_the_makers_cases(self, tmp_path, folder, expected):
        """Pixel accuracy, "mean accuracy" (a mean precision), mIoU and fwIoU over the reference's classes."""
        for file in (REFERENCE / folder).glob("*.png"):
            bdd100k(tmp_path, file.stem, np.asarray(Image.open(file)))
        benchmark = BENCHMARKS["bdd100k"]
        assert benchmark.is_missing_wrong
        counts = 0
        for sample in benchmark.samples(tmp_path):
            labels, answer = sample.read_labels(), REFERENCE / f"pred/{sample.id}.png"
            is_there = answer.exists()
            answered = np.asarray(Image.open(answer)) if is_there else np.full_like(labels, IGNORE)
            counts = counts + count(labels, answered, n_classes=19)
        occurs = counts.sum(-1) > 0
        of_theirs = [mean_of_defined(score(counts)[occurs]) for score in (precision, iou)]
        ours = (pixel_accuracy(counts), *of_theirs, fwiou(counts))
        assert 100 * np.array(ours) == pytest.approx(expected, abs=1e-6)


class TestSa1b:
    def write(self, root, masks, *, name="sa_1"):
        height, width = masks[0].shape
        picture(root / f"{name}.jpg", (height, width))
        entries = [
            {
                "id": n, "segmentation": write_coco(encode_mask(mask)), "area": int(mask.sum()),
                "bbox": [0, 0, 1, 1], "predicted_iou": 0.9, "stability_score": 0.97,
                "crop_box": [0, 0, width, height], "point_coords": [[0.5, 0.5]],
            }
            for n, mask in enumerate(masks)
        ]  # fmt: skip
        image = {"image_id": 1, "width": width, "height": height, "file_name": f"{name}.jpg"}
        (root / f"{name}.json").write_text(json.dumps({"image": image, "annotations": entries}))

    def test_masks_overlap_and_have_no_class(self, tmp_path):
        masks = [np.eye(5, 7) > 0, np.ones((5, 7), bool)]
        self.write(tmp_path, masks)
        self.write(tmp_path, masks, name="sa_000001/sa_2")
        (tmp_path / "notes.json").write_text("{}")
        samples = BENCHMARKS["sa-1b"].samples(tmp_path)
        assert sorted((s.id, s.read_labels) for s in samples) == [("sa_1", None), ("sa_2", None)]
        instances = samples[0].read_instances()
        assert [decode_mask(m).tolist() for m in instances.masks] == [m.tolist() for m in masks]
        assert instances.class_id.tolist() == [0, 0]
        (found,) = check(BENCHMARKS["sa-1b"], tmp_path)
        assert (found.n_images, found.n_labels, found.is_complete) == (2, 2, True)

    def test_instances_are_scored_without_classes(self, tmp_path):
        self.write(tmp_path, [np.eye(5, 7) > 0, np.ones((5, 7), bool)])
        reference = only("sa-1b", tmp_path, "train").read_instances()
        answer = type(reference)(reference.masks, reference.class_id, np.array([0.5, 0.9]))
        scores = average_precision([match_instances(reference, answer, class_ids=[0])])
        assert scores.ap == 1

    @pytest.mark.parametrize(
        "text", ["", "[]", '{"annotations": [{"segmentation": {"size": [2, 2], "counts": "1"}}]}']
    )
    def test_a_broken_file_is_named(self, tmp_path, text):
        self.write(tmp_path, [np.eye(2) > 0])
        (tmp_path / "sa_1.json").write_text(text)
        with pytest.raises(EvaluationError):
            only("sa-1b", tmp_path, "train").read_instances()


def test_samples_travel_to_other_processes(tmp_path):
    cityscapes(tmp_path)
    sample = only("cityscapes", tmp_path, "val")
    assert pickle.loads(pickle.dumps(sample)).read_labels().tolist() == sample.read_labels().tolist()


def test_a_broken_picture_is_named(tmp_path):
    broken = cityscapes(tmp_path, numbers=np.random.default_rng(0).integers(0, 34, (30, 40)))
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(EvaluationError, match=f"{broken.name} cannot be read as a picture"):
        only("cityscapes", tmp_path, "val").read_labels()


def test_hidden_files_are_no_labels(tmp_path):
    file = cityscapes(tmp_path)
    shutil.copy(file, file.with_name(f"._{file.name}"))
    assert len(BENCHMARKS["cityscapes"].samples(tmp_path)) == 1


def test_checking_reads_no_pixels(tmp_path):
    for path in (cityscapes(tmp_path), *tmp_path.glob("leftImg8bit/*/*/*.png")):
        path.write_bytes(b"")
    found = check(BENCHMARKS["cityscapes"], tmp_path)[0]
    assert (found.n_images, found.n_labels, found.n_expected, found.is_complete) == (1, 1, 500, False)
    assert "holds 1 of the 500 images that split val of Cityscapes has" in found.missing
