"""Paths with placeholders: what is filled in is found again, and nothing leads out of the folder."""

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.evaluation.name_patterns import fill, found, placeholders

TEXT = st.text(string.ascii_letters + string.digits + "_-. ", min_size=1, max_size=6)


@given(city=TEXT, chip=TEXT)
def test_a_path_is_the_pattern_with_the_values_in_it(city, chip):
    path = f"images/{city}_{chip:0>3}.tif"
    assert fill("images/{city}_{chip:0>3}.tif", {"city": city, "chip": chip, "more": "x"}) == path
    assert placeholders("images/{city}_{chip:0>3}.tif") == ("city", "chip")


def test_columns_may_have_any_name():
    assert fill("{a.b}/{no-1}", {"a.b": "x", "no-1": "y"}) == "x/y"


@pytest.mark.parametrize("pattern", ["{a.__class__}.tif", "{a[0]}.tif", "{0}.tif"])
def test_nothing_but_columns_is_looked_up(pattern):
    with pytest.raises(ValueError, match="asks for"):
        fill(pattern, {"a": "x"})


def test_braces_are_written_twice():
    assert fill("{{{a}}}.tif", {"a": "x"}) == "{x}.tif"


@pytest.mark.parametrize(
    "pattern",
    [
        "{a!r}.tif", "{}.tif", "{a:{b}}.tif", "{a:>9999999}.tif", "{a:03}.tif",
        "{a:.1}.tif", "{a:d}.tif", "{a", "a}", "{a}/../b.tif", "../{a}.tif", "/data/{a}.tif", "C:/{a}.tif", "..\\{a}.tif",
        "*.tif", "", "{a}\0.tif",
    ],
)  # fmt: skip
def test_what_is_no_plain_pattern_is_refused(pattern):
    with pytest.raises(ValueError, match=r"column|\*|not a path below|'}'"):
        placeholders(pattern)


@pytest.mark.parametrize("value", ["../x", "a/../../x", "..", "..\\x", "x\0"])
def test_values_do_not_lead_out(value):
    with pytest.raises(ValueError, match="not a path below"):
        fill("{a}", {"a": value})
    with pytest.raises(ValueError, match="not a path below"):
        fill("{a}/x.tif", {"a": value})


@pytest.mark.parametrize("value", ["/etc/passwd", "C:\\x", "//host/share/x"])
def test_values_are_no_absolute_paths(value):
    with pytest.raises(ValueError, match="not a path below"):
        fill("{a}", {"a": value})


def test_a_name_that_is_no_column_is_told_the_nearest():
    with pytest.raises(ValueError, match="did you mean chip"):
        fill("{chp}.tif", {"chip": "1"})


def test_what_was_filled_in_is_found(tmp_path: Path):
    rows = [{"city": c, "n": n} for c in ("bonn", "ulm") for n in ("1", "2[x]")]
    for row in rows:
        path = tmp_path / fill("{city}/img_{n}_{city}.tif", row)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    for other in (
        "bonn/img_1_ulm.tif",
        "bonn/img__bonn.tif",
        "bonn/.img_1_bonn.tif",
        "img_1_.tif",
        "bonn/img_1_bonn.tiff",
    ):
        (tmp_path / other).touch()
    assert found(tmp_path, "{city}/img_{n}_{city}.tif") == rows


def test_signs_of_a_pattern_stand_for_themselves(tmp_path: Path):
    for name in ("a[1].x.tif", "b1.x.tif", "c[1]yx.tif"):
        (tmp_path / name).touch()
    assert found(tmp_path, "{n}[1].x.tif") == [{"n": "a"}]
    assert found(tmp_path, "?1.x.tif") == []


def test_a_pattern_without_placeholders_is_one_file(tmp_path: Path):
    assert found(tmp_path, "image.tif") == []
    (tmp_path / "image.tif").touch()
    assert found(tmp_path, "image.tif") == [{}]


def test_neighbouring_placeholders_and_hidden_folders(tmp_path: Path):
    for name in ("ab.tif", ".cache/ab.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert found(tmp_path, "{a}{b}.tif") == [{"a": "a", "b": "b"}]
    assert found(tmp_path, "{folder}/{a}.tif") == []


def test_widths_are_not_looked_for(tmp_path: Path):
    with pytest.raises(ValueError, match="width"):
        found(tmp_path, "{a:0>3}.tif")
