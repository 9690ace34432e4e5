"""The journal: what is written down is found again, and nothing that is not whole."""

import json
from dataclasses import replace

import pytest
from builders import geobox_at
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from geoseg.grid.tiling import Block, TilePlan
from geoseg.inference.runner import Inference
from geoseg.jobs.blocks import BlockDone, BlockTask
from geoseg.jobs.journal import JOURNAL, Journal, with_fingerprints
from geoseg.stac.catalog import Catalog


def done(index=0, part="000000.tif"):
    return BlockDone(index, part, 10, 9, 0.1, 0.2, 0.1, 0.0, 64, 100.0)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "000000.tif").write_bytes(b"part")
    return tmp_path


def test_what_was_noted_is_found_again(folder):
    Journal(folder).note("a", done())
    assert Journal(folder).finished("a") == done()
    assert Journal(folder).finished("b") is None


def test_a_part_that_changed_or_went_is_made_again(folder):
    Journal(folder).note("a", done())
    (folder / "parts" / "000000.tif").write_bytes(b"Part")
    assert Journal(folder).finished("a") is None
    (folder / "parts" / "000000.tif").unlink()
    assert Journal(folder).finished("a") is None


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 10_000))
def test_cut_anywhere_it_holds_whole_lines_only_and_goes_on(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("job")
    (folder / "parts").mkdir()
    journal = Journal(folder)
    for n in range(4):
        (folder / "parts" / f"{n}.tif").write_bytes(b"part %d" % n)
        journal.note(f"f{n}", done(n, f"{n}.tif"))
    path = folder / JOURNAL
    whole = path.read_bytes()
    path.write_bytes(whole[: cut % (len(whole) + 1)])
    n_whole = whole[: cut % (len(whole) + 1)].count(b"\n")
    again = Journal(folder)
    assert [again.finished(f"f{n}") is not None for n in range(4)] == [n < n_whole for n in range(4)]
    again.note("new", done(0, "0.tif"))
    lines = path.read_bytes().splitlines()
    assert len(lines) == n_whole + 1
    assert all(json.loads(line) for line in lines)
    assert Journal(folder).finished("new") == done(0, "0.tif")


@pytest.fixture
def task(tmp_path):
    plan = TilePlan(geobox_at(height=100, width=100), 64, 8)
    catalog = Catalog(name="x", title="x", url="")
    item = {"id": "a", "assets": {"b": {"href": "/data/a.tif"}}}
    return BlockTask(
        Block(0, Window(0, 0, 64, 64)), [item], plan, None, ("red",), "median", False, catalog, "m", "f",
        Inference(), tmp_path,
    )  # fmt: skip


def fingerprint_of_task(task):
    return with_fingerprints([task])[0].fingerprint


def signed(task, query):
    return replace(
        task, items=[{"id": "a", "assets": {"b": {"href": f"https://host/a.tif?{query}", "n": 1}}}]
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("se=2026-11-01T00%3A00Z&sp=r&sig=a%2Fb%3D", "se=2026-12-01T00%3A00Z&sp=r&sig=c"),
        ("X-Amz-Date=20261101&X-Amz-Signature=ab", "X-Amz-Date=20261201&X-Amz-Signature=cd"),
        ("Expires=1&Signature=a~_&Key-Pair-Id=k", "Expires=2&Signature=b&Key-Pair-Id=k"),
        ("X-Goog-Signature=ab&X-Goog-Expires=1", "X-Goog-Signature=cd&X-Goog-Expires=1"),
    ],
)
def test_what_a_catalog_has_signed_anew_is_the_same(task, first, second):
    assert fingerprint_of_task(signed(task, first)) == fingerprint_of_task(signed(task, second))
    of_two = {fingerprint_of_task(signed(task, f"versionId={n}&{first}")) for n in (1, 2)}
    assert len(of_two | {fingerprint_of_task(signed(task, f"versionId=1&{second}"))}) == 2
    assert fingerprint_of_task(signed(task, "versionId=1")) != fingerprint_of_task(
        signed(task, "versionId=2")
    )
    assert fingerprint_of_task(signed(task, "design=1")) != fingerprint_of_task(signed(task, "design=2"))


def test_a_fingerprint_is_of_what_makes_the_part(task, tmp_path):
    same = replace(task, parts=tmp_path / "elsewhere", block=replace(task.block, index=7))
    assert fingerprint_of_task(same) == fingerprint_of_task(task)
    other = [
        replace(task, model_fingerprint="g"),
        replace(task, composite="first"),
        replace(task, items=[*task.items, task.items[0]]),
        replace(task, items=[{"id": "a", "assets": {"b": {"href": "/data/b.tif"}}}]),
        replace(task, how=replace(task.how, tta="flip")),
        replace(task, how=replace(task.how, backend="openvino")),
        replace(task, block=Block(0, Window(0, 0, 64, 60))),
        replace(task, plan=TilePlan(task.plan.geobox, 64, 16)),
        replace(task, bands=("nir",)),
        replace(task, has_clouds=True),
    ]
    assert len({fingerprint_of_task(t) for t in [task, *other]}) == len(other) + 1
