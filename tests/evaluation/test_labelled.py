"""Labelled images of one's own: the description, what it finds, and which class each pixel gets."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import EvaluationError
from geoseg.evaluation.benchmark import BENCHMARKS, IGNORE, check
from geoseg.evaluation.labelled import benchmark_of, read_labelled
from geoseg.evaluation.labelled_document import ALL, IgnoreRule, LabelClass, LabelledImages
from geoseg.evaluation.labelled_pixels import classes_of

DATA = Path(__file__).parents[2] / "../shared/data/train/hls30_worldcover_water"
H, W = 4, 5

HEAD = """
name = "made"
title = "Made chips"
bands = ["red", "-", "nir"]
scale = 0.0001
"""
INDEX = """
index = "index.csv"
images = "chips/{chip:0>3}.tif"
labels = "labels/{chip:0>3}.tif"
place = "town"
split = "part"
splits = ["val", "train"]
"""
CLASSES = """
[[classes]]
name = "tree"
color_hint = "006400"
values = [10, 11]
[[classes]]
name = "water"
values = [80]
"""


@pytest.fixture(autouse=True)
def _silent():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield


def write(path: Path, pixels: np.ndarray, **profile) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"count": pixels.shape[0], "height": pixels.shape[1], "width": pixels.shape[2]}
    with rasterio.open(path, "w", driver="GTiff", dtype=pixels.dtype, **shape, **profile) as file:
        file.write(pixels)
    return pixels


def described(folder: Path, text: str = HEAD + INDEX + CLASSES):
    path = folder / "made.toml"
    path.write_text(text)
    return read_labelled(path)


@pytest.fixture
def chips(tmp_path):
    """Three chips of two towns, val, train and one of a split that is not listed."""
    rows = ["\ufeffchip,town,part,note", '7,ulm,val,"a, b"', "12,bonn,train,", "13,bonn,unused,", ""]
    (tmp_path / "index.csv").write_text("\n".join(rows), "utf-8")
    rng = np.random.default_rng(3)
    for chip in ("007", "012", "013"):
        write(tmp_path / f"chips/{chip}.tif", rng.integers(1, 10_000, (3, H, W)).astype(np.int16))
        write(tmp_path / f"labels/{chip}.tif", rng.choice([10, 11, 80], (1, H, W)).astype(np.uint8))
    return tmp_path


def stored(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


def test_the_images_of_a_list_are_found(chips):
    made = described(chips)
    assert (made.name, made.title, made.bands, made.splits) == (
        "made",
        "Made chips",
        ("red", "nir"),
        ("val", "train"),
    )
    assert [(c.value, c.name, c.color_hint) for c in made.legend.classes] == [
        (0, "tree", "006400"),
        (1, "water", "808080"),
    ]
    found = {split: [(s.id, s.place) for s in made.samples(chips, split)] for split in made.splits}
    assert found == {"val": [("chips/007", "ulm")], "train": [("chips/012", "bonn")]}
    assert [s.id for s in made.samples(chips)] == ["chips/007"]
    assert [(s.split, s.n_images, s.n_labels, s.is_complete) for s in check(made, chips)] == [
        ("val", 1, 1, True),
        ("train", 1, 1, True),
    ]


def test_pixels_are_reflectance_and_labels_are_classes(chips):
    made = described(chips)
    (sample,) = made.samples(chips)
    image = sample.read_image() * made.scale
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, stored(chips / "chips/007.tif")[[0, 2]] * 1e-4, rtol=1e-6)
    labels = sample.read_labels()
    assert labels.dtype == np.uint8
    assert (labels == (stored(chips / "labels/007.tif")[0] == 80)).all()


@pytest.mark.parametrize(
    ("key", "declared"), [("nodata = -9999\n", None), ("", -9999), ("nodata = -9999\n", 5)]
)
def test_nodata_is_nan_after_scale_and_offset(key, declared, chips):
    pixels = np.arange(3 * H * W, dtype=np.int16).reshape(3, H, W)
    pixels[2, 1, 2] = pixels[1, 0, 0] = -9999
    write(chips / "chips/007.tif", pixels, nodata=declared)
    text = HEAD.replace("scale = 0.0001", "scale = [0.5, 9, 2.0]\noffset = [-1, 9, 0.25]\n" + key)
    (sample,) = described(chips, text + INDEX + CLASSES).samples(chips)
    image = sample.read_image()
    expected = np.stack([pixels[0] * 0.5 - 1, np.where(pixels[2] == -9999, np.nan, pixels[2] * 2.0 + 0.25)])
    np.testing.assert_array_equal(image, expected.astype(np.float32))
    assert np.isnan(image).sum() == 1


def test_without_a_list_the_files_say_it_all(tmp_path):
    for name in ("val/ulm_1", "val/ulm_2", "train/bonn_1"):
        split, stem = name.split("/")
        write(tmp_path / split / f"{stem}.tif", np.ones((3, H, W), np.uint8))
        write(tmp_path / split / f"truth/{stem}.tif", np.full((1, H, W), 80, np.uint8))
    keys = 'images = "{part}/{town}_{n}.tif"\nlabels = "{part}/truth/{town}_{n}.tif"\n'
    made = described(
        tmp_path, HEAD + keys + 'place = "town"\nsplit = "part"\nsplits = ["train", "val"]\n' + CLASSES
    )
    assert [(s.id, s.place) for s in made.samples(tmp_path)] == [("train/bonn_1", "bonn")]
    assert [(s.id, s.place) for s in made.samples(tmp_path, "val")] == [
        ("val/ulm_1", "ulm"),
        ("val/ulm_2", "ulm"),
    ]
    plain = described(tmp_path, HEAD + keys + CLASSES)
    assert plain.splits == (ALL,)
    assert [s.place for s in plain.samples(tmp_path)] == ["train/bonn_1", "val/ulm_1", "val/ulm_2"]


def test_the_list_may_lie_below_the_root(chips, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("description")
    assert len(described(elsewhere).samples(chips)) == 1
    with pytest.raises(EvaluationError, match=r"There is no index.csv, neither beside .*made.toml nor in "):
        described(elsewhere).samples(elsewhere)


# Which class a pixel gets

NAMES = ("tree", "water", "built")
RULES = st.builds(
    lambda layer, values, kind, named: IgnoreRule(layer=layer, **values, **({kind: named} if kind else {})),
    st.sampled_from([None, 1, 2, 3]),
    st.one_of(
        st.lists(st.integers(-2, 9), min_size=1, max_size=3).map(lambda v: {"values": tuple(v)}),
        st.lists(st.integers(0, 3), min_size=1, max_size=3).map(lambda b: {"bits": tuple(b)}),
    ),
    st.sampled_from(["", "only", "unless"]),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=2).map(tuple),
)


def brute_force(layers, document, nodata):
    """Pixel by pixel, in plain Python; None where a value is refused."""
    labels = np.full((H, W), IGNORE, np.uint8)
    refused = False
    for y, x in np.ndindex(H, W):
        here = {number: int(layer[y, x]) for number, layer in layers.items()}
        value = here[document.label_layer]
        name = next((c.name for c in document.classes if value in c.values), None)
        is_ignored = name is None and (document.other == "ignore" or value == nodata)
        for rule in document.ignore:
            read = here[rule.layer or document.label_layer]
            is_met = read in rule.values or any(read >> bit & 1 for bit in rule.bits)
            if rule.only:
                is_met = is_met and name in rule.only
            if rule.unless:
                is_met = is_met and name not in rule.unless
            is_ignored = is_ignored or is_met
        if not is_ignored and name is None:
            refused = True
        elif not is_ignored:
            labels[y, x] = [c.name for c in document.classes].index(name)
    return None if refused else labels


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    top=st.integers(2, 9),
    dtype=st.sampled_from([np.uint8, np.int16, np.int32]),
    split=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    rules=st.lists(RULES, max_size=3),
    label_layer=st.sampled_from([1, 2]),
    other=st.sampled_from(["refuse", "ignore"]),
    nodata=st.sampled_from([None, 0, 7.0, 200.0]),
)
def test_classes_are_those_of_plain_python(seed, top, dtype, split, rules, label_layer, other, nodata):
    rng = np.random.default_rng(seed)
    layers = {n: rng.integers(0, top, (H, W)).astype(dtype) for n in (1, 2, 3)}
    numbers = rng.permutation(7)
    groups = np.split(numbers, [split[0], split[0] + split[1]])
    classes = tuple(LabelClass(name=n, values=tuple(map(int, v))) for n, v in zip(NAMES, groups, strict=True))
    document = LabelledImages(
        name="made", bands=("red",), scale=1, images="{a}.tif", labels="{a}.png", label_layer=label_layer,
        classes=classes, ignore=tuple(rules), other=other,
    )  # fmt: skip
    expected = brute_force(layers, document, nodata)
    kept = {n: layer.copy() for n, layer in layers.items()}
    if expected is None:
        with pytest.raises(EvaluationError, match=r"x\.tif holds .* no class and not ignored"):
            classes_of(layers, document, nodata=nodata, path=Path("x.tif"))
    else:
        np.testing.assert_array_equal(
            classes_of(layers, document, nodata=nodata, path=Path("x.tif")), expected
        )
    assert all((layers[n] == kept[n]).all() for n in layers)


def test_labels_in_floats_have_nan_for_none(chips):
    labels = np.full((1, H, W), 80, np.float32)
    labels[0, 0, 0] = np.nan
    write(chips / "labels/007.tif", labels)
    (sample,) = described(chips).samples(chips)
    assert sample.read_labels()[0, 0] == IGNORE
    assert (sample.read_labels() == 1).sum() == H * W - 1
    (sample,) = described(chips, HEAD + INDEX + CLASSES + "[[ignore]]\nbits = [1]\n").samples(chips)
    with pytest.raises(EvaluationError, match=r"layer 1 of .*007\.tif holds float32, which has no bits"):
        sample.read_labels()


def test_labels_are_ignored_where_their_file_declares_nodata(chips):
    labels = np.full((2, H, W), 80, np.uint8)
    labels[0, 0, 0] = 99
    labels[0, 1, 1] = 10
    for declared, expected in ((99, [IGNORE, 0]), (10, None)):
        write(chips / "labels/007.tif", labels, nodata=declared)
        (sample,) = described(chips).samples(chips)
        if expected is None:
            with pytest.raises(EvaluationError, match="holds 99"):
                sample.read_labels()
        else:
            assert [sample.read_labels()[0, 0], sample.read_labels()[1, 1]] == expected


def test_a_label_value_that_means_nothing_is_named_with_its_file(chips):
    labels = np.full((1, H, W), 80, np.uint8)
    labels[0, 1, 1] = 33
    write(chips / "labels/007.tif", labels)
    (sample,) = described(chips).samples(chips)
    with pytest.raises(EvaluationError, match=r"labels/007\.tif holds 33, which is no class") as refused:
        sample.read_labels()
    assert "\n" not in str(refused.value)
    (sample,) = described(chips, HEAD + INDEX + 'other = "ignore"\n' + CLASSES).samples(chips)
    assert sample.read_labels()[1, 1] == IGNORE


# What is refused


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("../../etc/passwd,ulm,val,", "not a path below"),
        ("/etc/passwd,ulm,val,", "not a path below|lacks"),
        ("7,ulm,val,\n7,bonn,val,", r"names .*chips/007.tif 2 times"),
        ("7,ulm", "Row 1 of .* has 2 cells, its header 4"),
        ('"7,ulm,val,', "cannot be read as CSV"),
        ("99,ulm,val,", r"lacks chips/099.tif of Made chips. Get it from whoever wrote .*made.toml"),
    ],
)
def test_rows_that_cannot_be_used_are_named(row, message, chips):
    (chips / "index.csv").write_text("chip,town,part,note\n" + row)
    with pytest.raises(EvaluationError, match=message) as refused:
        described(chips).samples(chips)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", ["../chips/007", "/etc/passwd", "a/../../chips/007"])
def test_no_file_outside_the_root_is_read(value, chips):
    (chips / "index.csv").write_text(f"chip,town,part\n{value},ulm,val")
    text = (HEAD + INDEX + CLASSES).replace("chips/{chip:0>3}.tif", "{chip}.tif")
    with pytest.raises(EvaluationError, match="not a path below the folder"):
        described(chips, text).samples(chips / "labels")


def test_missing_labels_and_splits_are_named(chips):
    (chips / "labels/012.tif").unlink()
    made = described(chips)
    with pytest.raises(EvaluationError, match=r"lacks labels/012.tif of Made chips"):
        made.samples(chips, "train")
    assert [(s.n_images, s.n_labels, s.is_complete) for s in check(made, chips)] == [
        (1, 1, True),
        (1, 0, False),
    ]
    (chips / "index.csv").write_text("chip,town,part\n7,ulm,val")
    with pytest.raises(EvaluationError, match=r"column 'part' has no 'train'; it has val"):
        made.samples(chips, "train")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "made"', "", "name: Field required"),
        ('name = "made"', 'nam = "made"', "unknown key nam: did you mean name"),
        ("values = [80]", "value = [80]", r"unknown key classes\.1\.value: did you mean values"),
        ("values = [80]", "values = [80, 11]", "label value 11 means two classes"),
        ('name = "water"', 'name = "tree"', "two classes share a name"),
        ('color_hint = "006400"', 'color_hint = "green"', "six hexadecimal digits"),
        ('["red", "-", "nir"]', '["red", "-", "red"]', "a name each, once"),
        ('["red", "-", "nir"]', '["-"]', "a name each, once"),
        ("scale = 0.0001", "scale = [1.0, 2.0]", "scale has 2 numbers for 3 bands"),
        ("scale = 0.0001", "scale = ", "cannot be read as TOML"),
        ('splits = ["val", "train"]', "", "split, a column, and splits"),
        ('split = "part"', "", "split, a column, and splits"),
        ("chips/{chip:0>3}.tif", "../{chip}.tif", "images: .*not a path below"),
        ("chips/{chip:0>3}.tif", "/data/{chip}.tif", "images: .*not a path below"),
        ("chips/{chip:0>3}.tif", "{chip.__class__.__mro__}.tif", r"asks for 'chip\.__class__\.__mro__': known: chip"),
        ("chips/{chip:0>3}.tif", "{chip!r}.tif", "not the name of a column"),
        ("chips/{chip:0>3}.tif", "{chip:>99999999999}.tif", "not the name of a column"),
        ("chips/{chip:0>3}.tif", "chips/*.tif", "write a placeholder"),
        ("labels/{chip:0>3}.tif", "{chp}.tif", "did you mean chip"),
        ('place = "town"', 'place = "twon"', "no column 'twon': did you mean town"),
        ('split = "part"', 'split = "prat"', "no column 'prat': did you mean part"),
        ('index = "index.csv"', 'index = "../index.csv"', "index: .*not a path below"),
        ('index = "index.csv"', "", "'chip' is no placeholder|width|'town' is no placeholder"),
        ("values = [80]", 'values = [80]\n[[ignore]]\nvalues = [1]\nonly = ["watr"]', "did you mean water"),
        ("values = [80]", "values = [80]\n[[ignore]]\nlayer = 2", "either values or bits"),
        ("values = [80]", "values = [80]\n[[ignore]]\nvalues = [1]\nbits = [1]", "either values or bits"),
        ("values = [80]", 'values = [80]\n[[ignore]]\nbits = [1]\nonly = ["tree"]\nunless = ["water"]', "not both"),
        ("values = [80]", "values = [80]\n[[ignore]]\nbits = [1]\nlayer = 0", "ignore.0.layer"),
        ("values = [80]", "values = [80]\n[[ignore]]\nlayer = 4\nvalues = [1]", "has 1 layers, layer 4 is asked for"),
        ('["red", "-", "nir"]', '["red", "nir"]', "has 3 layers, bands names 2: red, nir"),
    ],
)  # fmt: skip
def test_what_a_description_gets_wrong_is_one_line(old, new, message, chips):
    text = HEAD + INDEX + CLASSES
    assert old in text
    with pytest.raises(EvaluationError, match=message) as refused:
        read_all(chips, text.replace(old, new, 1))
    assert "\n" not in str(refused.value)
    assert not str(refused.value).endswith(("..", "?."))


def read_all(folder: Path, text: str) -> None:
    for sample in described(folder, text).samples(folder):
        sample.read_image()
        sample.read_labels()


def test_a_name_a_shipped_description_or_a_file_is_a_benchmark(chips, monkeypatch):
    assert benchmark_of("loveda") is BENCHMARKS["loveda"]
    assert benchmark_of("landcover-30m").name == "landcover-30m"
    described(chips)
    monkeypatch.chdir(chips)
    assert benchmark_of("made.toml").samples(chips)[0].id == "chips/007"
    for name, near in (("lovda", "loveda"), ("landcover-30", "landcover-30m")):
        with pytest.raises(
            EvaluationError, match=rf"No benchmark named .*{near}.* Or give the TOML file"
        ) as refused:
            benchmark_of(name)
        assert "\n" not in str(refused.value)
    with pytest.raises(EvaluationError, match="cannot be read as TOML"):
        benchmark_of("chips")


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared training chips are not here")
def test_the_training_chips_are_described_in_full():
    made = benchmark_of("landcover-30m")
    samples = {split: made.samples(DATA, split) for split in made.splits}
    places = {split: {s.place for s in found} for split, found in samples.items()}
    assert {split: (len(found), len(places[split])) for split, found in samples.items()} == {
        "val": (40, 17),
        "train": (202, 32),
    }
    assert not places["val"] & places["train"]
    codes, (tree, *_, water, wetland) = (10, 20, 30, 40, 50, 60, 80, 90), range(8)
    assert [made.legend.classes[i].name for i in (tree, water, wetland)] == ["tree", "water", "wetland"]
    for sample in samples["val"] + samples["train"][::6]:
        labels = DATA / f"{sample.id.replace('chips', 'labels')}.tif"
        cover, is_wet, fmask, _ = stored(labels).astype(int)
        expected = np.full(cover.shape, IGNORE)
        for value, code in enumerate(codes):
            expected[cover == code] = value
        expected[(fmask // 2 % 2 == 1) | (fmask // 8 % 2 == 1) | ((cover == 80) != (is_wet == 1))] = IGNORE
        np.testing.assert_array_equal(sample.read_labels(), expected)
        image = sample.read_image()
        np.testing.assert_allclose(image, stored(DATA / f"{sample.id}.tif") * 1e-4, rtol=1e-6)
