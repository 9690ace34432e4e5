"""Blocks that fail: tried again, cut into pieces, made with gaps, and never in the way of the others."""

import errno
from pathlib import Path

import numpy as np
import pytest
import rasterio
from builders import Said, geobox_at, model_folder, smooth, write_image
from hypothesis import given
from hypothesis import strategies as st
from lanes.services import rasters
from rasterio.windows import Window

from geoseg.errors import ImageryError, ModelError, OutputError
from geoseg.jobs import cluster, stopping
from geoseg.jobs.blocks import pieces_of
from geoseg.jobs.parts import write_part
from geoseg.jobs.run import run
from geoseg.jobs.stopping import Stopped, stoppable
from geoseg.recipe import Recipe


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    image = write_image(folder / "scene.tif", smooth(0, (300, 300)), geobox_at(height=300, width=300))
    model = model_folder(folder / "model", family="small-unet", halo=8)
    return {"image": (str(image),), "model": str(model), "block_size": 100}


@pytest.fixture(scope="module")
def whole(scene, tmp_path_factory):
    return rasters(run(Recipe(**scene, out=str(tmp_path_factory.mktemp("whole") / "map"))).out)


@pytest.fixture
def failing(monkeypatch):
    """Have blocks fail as a function of the task and of how often it was tried says; all tries are listed."""
    real, tried = cluster.run_block, []

    def set_up(fails):
        def run_block(task):
            if task.parts.name == "parts":
                tried.append(task.block.index)
                if (error := fails(task, tried.count(task.block.index))) is not None:
                    raise error
            return real(task)

        monkeypatch.setattr(cluster, "run_block", run_block)
        return tried

    yield set_up
    monkeypatch.setattr(cluster, "run_block", real)


def test_one_block_that_fails_does_not_stop_the_others(scene, whole, tmp_path, failing):
    recipe, said = Recipe(**scene, out=str(tmp_path / "map")), Said()
    tried = failing(lambda task, _: ImageryError("It is torn.") if task.block.index == 4 else None)
    with pytest.raises(
        ImageryError, match=r"^1 block of 9 failed, the others are done\. Block 4: It is torn\.$"
    ):
        run(recipe, listener=said)
    assert sorted(tried) == list(range(9)), "a file on disk does not get better"
    assert (
        "8 blocks are done and kept: geoseg run, or predict with --resume, goes on from there" in said.lines
    )
    tried = failing(lambda *_: None)
    tried.clear()
    assert rasters(run(recipe.model_copy(update={"resume": True})).out) == whole
    assert tried == [4]


@pytest.mark.parametrize("error", [OSError("reset by peer"), ValueError("a bug")])
def test_what_may_pass_is_tried_again_when_the_others_are_done(scene, whole, tmp_path, failing, error):
    tried = failing(lambda task, n: error if task.block.index in (2, 5) and n < 3 else None)
    said = Said()
    assert rasters(run(Recipe(**scene, out=str(tmp_path / "map")), listener=said).out) == whole
    assert sorted(tried[:9]) == list(range(9))
    assert [sorted(tried[9:11]), sorted(tried[11:])] == [[2, 5], [2, 5]]
    assert f"block 2 is tried again: {error}" in said.lines


def test_no_more_often_than_asked(scene, tmp_path, failing):
    tried = failing(lambda task, n: OSError("reset by peer") if task.block.index == 2 else None)
    with pytest.raises(OSError, match="reset by peer") as caught:
        run(Recipe(**scene, tries=2, out=str(tmp_path / "map")))
    assert tried.count(2) == 2
    assert "1 block of 9 failed, the others are done." in caught.value.__notes__[0]


def test_where_no_block_can_be_made_not_all_are_tried(scene, tmp_path, failing):
    tried = failing(lambda task, n: ImageryError("The server is gone."))
    with pytest.raises(ImageryError, match=r"^The server is gone\.$"):
        run(Recipe(**scene | {"block_size": 64}, out=str(tmp_path / "map")))
    assert len(tried) < 25
    tried.clear()
    with pytest.raises(ImageryError, match=r"^All 9 blocks failed\. Block 0: The server is gone\.$"):
        run(Recipe(**scene, out=str(tmp_path / "map")))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModelError("no such layer"), ModelError),
        (OutputError("no room"), OutputError),
        (OSError(errno.ENOSPC, "No space left"), OutputError),
    ],
)
def test_what_all_blocks_share_ends_the_run_at_once(scene, tmp_path, failing, error, said):
    tried = failing(lambda task, n: error)
    with pytest.raises(said):
        run(Recipe(**scene, out=str(tmp_path / "map")))
    assert len(tried) == 1


@pytest.mark.parametrize(
    "error",
    [MemoryError("8 GB"), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 8 GB")],
)
def test_out_of_memory_a_block_is_made_in_pieces(scene, whole, tmp_path, failing, error):
    large = Recipe(**scene | {"block_size": 300}, out=str(tmp_path / "map"))
    tried = failing(lambda task, n: error if task.n_pieces < 2 else None)
    assert rasters(run(large).out) == whole
    assert tried == [0, 0]


def test_a_block_that_no_piece_of_fits_is_given_up(scene, tmp_path, failing):
    tried = failing(lambda task, n: MemoryError("8 GB"))
    with pytest.raises(MemoryError):
        run(Recipe(**scene | {"block_size": 300}, out=str(tmp_path / "map")))
    assert 1 < len(tried) < 5


@given(*[st.integers(1, 300)] * 2, *[st.integers(0, 50)] * 2, st.integers(1, 9))
def test_pieces_cover_each_pixel_once(width, height, col, row, n):
    count = np.zeros((row + height, col + width), int)
    for piece in pieces_of(Window(col, row, width, height), n):
        (top, bottom), (left, right) = piece.toranges()
        count[top:bottom, left:right] += 1
    assert count[row:, col:].all()
    assert count.sum() == width * height


# --- pixels that cannot be read ------------------------------------------------------------------

WEST = -29_000 % 512
GAP = (slice(256, 512), slice(WEST, WEST + 512))
"""A tile of 256 is broken; squares of 512 columns are left out, counted from 0 m east, in the tile's rows."""


def broken_image(path, seed, *, shift):
    """A tiled image whose tile in the middle cannot be unpacked."""
    plain = write_image(path.with_suffix(".plain.tif"), smooth(seed, (700, 700)), grid(shift))
    with rasterio.open(plain) as source:
        profile = source.profile | {
            "tiled": True,
            "blockxsize": 256,
            "blockysize": 256,
            "compress": "deflate",
        }
        with rasterio.open(path, "w", **profile) as target:
            target.write(source.read())
            target.descriptions = source.descriptions
    with rasterio.open(path) as source:
        where = [int(source.get_tag_item(f"BLOCK_{what}_1_1", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE")]
    contents = bytearray(path.read_bytes())
    contents[where[0] : sum(where)] = b"\xff" * where[1]
    path.write_bytes(contents)
    return path


def grid(shift):
    box = geobox_at(height=700, width=700)
    return box if not shift else geobox_at(shift, shift, height=700, width=700)


def classes(out):
    with rasterio.open(out / "class.tif") as source:
        return source.read(1)


@pytest.fixture(scope="module")
def torn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torn")
    torn = broken_image(folder / "torn.tif", 1, shift=0)
    good = write_image(folder / "good.tif", smooth(2, (700, 700)), grid(0))
    plain = folder / "torn.plain.tif"
    beside = write_image(folder / "beside.tif", smooth(3, (700, 64)), geobox_at(700, height=700, width=64))
    return {"torn": str(torn), "good": str(good), "plain": str(plain), "beside": str(beside)}


def rules(images, out, **more):
    options = {
        "model": "spectral-rules-vnir",
        "composite": "first",
        "tile_size": 64,
        "halo": 0,
        "scale": (1e-4,),
    } | more
    return Recipe(image=tuple(images), out=str(out), **options)


def test_what_cannot_be_read_fails_unless_it_may_be_skipped(torn, tmp_path):
    with pytest.raises(ImageryError, match=r"torn\.tif"):
        run(rules([torn["torn"], torn["good"]], tmp_path / "map"))


@pytest.mark.filterwarnings("ignore::geoseg.errors.GeosegWarning")
@pytest.mark.parametrize("block_size", [pytest.param(300, marks=pytest.mark.lane), 4096])
def test_the_next_item_serves_where_one_is_torn(torn, tmp_path, block_size):
    made = run(
        rules([torn["torn"], torn["good"]], tmp_path / "map", on_missing="skip", block_size=block_size)
    )
    expected = classes(run(rules([torn["plain"]], tmp_path / "first")).out)
    second = classes(run(rules([torn["good"]], tmp_path / "second")).out)
    assert (expected[GAP] != second[GAP]).any()
    expected[GAP] = second[GAP]
    assert np.array_equal(classes(made.out), expected)
    (said,) = {w for w in made.report.warnings if w.startswith("Left out in")}
    assert "torn.tif is cut short or damaged" in said


@pytest.mark.filterwarnings("ignore::geoseg.errors.GeosegWarning")
def test_without_another_item_it_is_nodata(torn, tmp_path):
    made = classes(run(rules([torn["torn"], torn["beside"]], tmp_path / "map", on_missing="skip")).out)
    expected = classes(run(rules([torn["plain"], torn["beside"]], tmp_path / "first")).out)
    expected[GAP] = 255
    assert np.array_equal(made, expected)


@pytest.mark.lane
@pytest.mark.filterwarnings("ignore::geoseg.errors.GeosegWarning")
def test_off_the_grid_too(torn, tmp_path):
    """Pixels that are warped are left out in whole squares."""
    finer = {"gsd": 5.0, "block_size": 900, "tile_size": 256}
    made = classes(
        run(rules([torn["torn"], torn["beside"]], tmp_path / "map", on_missing="skip", **finer)).out
    )
    expected = classes(run(rules([torn["plain"], torn["beside"]], tmp_path / "whole", **finer)).out)
    is_gap = (made == 255) & (expected != 255)
    assert is_gap.any()
    assert np.array_equal(made[~is_gap], expected[~is_gap])
    same = classes(
        run(
            rules(
                [torn["torn"], torn["beside"]],
                tmp_path / "again",
                on_missing="skip",
                **finer | {"block_size": 4096},
            )
        ).out
    )
    assert np.array_equal(made, same)


@pytest.mark.lane
@pytest.mark.filterwarnings("ignore::geoseg.errors.GeosegWarning")
def test_blocks_with_gaps_are_made_again_by_the_next_run(torn, tmp_path, failing):
    tried = failing(lambda *_: None)
    recipe = rules(
        [torn["torn"], torn["beside"]], tmp_path / "map", on_missing="skip", resume=True, block_size=256
    )
    first = classes(run(recipe).out)
    with_gaps = {index for index in tried if tried.count(index) > 1}
    tried.clear()
    assert np.array_equal(classes(run(recipe).out), first)
    assert set(tried) == with_gaps
    assert 0 < len(with_gaps) < 16


def test_the_only_file_is_not_skipped(torn, tmp_path):
    with pytest.raises(ImageryError, match=r"torn\.tif is cut short or damaged"):
        run(rules([torn["torn"]], tmp_path / "map", on_missing="skip"))


def test_a_part_that_was_not_written_whole_is_not_there(tmp_path, monkeypatch):
    real = Path.write_bytes
    monkeypatch.setattr(
        Path, "write_bytes", lambda path, contents: real(path, contents[: len(contents) // 2])
    )
    pixels = np.random.default_rng(0).integers(0, 9, (100, 100), dtype=np.uint8)
    with pytest.raises(OutputError, match="then go on"):
        write_part(tmp_path / "a.tif", [pixels], geobox_at())
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_stopped_counts_blocks_that_have_failed_for_good(scene, tmp_path, failing):
    def fails(task, n):
        if task.block.index == 0:
            return ImageryError("It is torn.")
        if task.block.index in (3, 5):
            if n == 2:
                stopping._asked.set()  # as SIGTERM does; the lanes send one
            return OSError("reset by peer")
        return None

    failing(fails)
    with stoppable(), pytest.raises(Stopped, match="3 blocks are left"):
        run(Recipe(**scene, out=str(tmp_path / "map")))
