"""What is known of maps from outside: state, counts, log; and what is removed."""

import json
from datetime import datetime

import pytest
from builders import Said, geobox_at, model_folder, smooth, write_image
from lanes.services import rasters
from prometheus_client.parser import text_string_to_metric_families

from geoseg.cli import jobs
from geoseg.errors import CatalogError, OutputError, RecipeError
from geoseg.jobs import run as run_module
from geoseg.jobs.folders import outs_of
from geoseg.jobs.log import LOG, Log, read_log
from geoseg.jobs.metrics import prometheus_text
from geoseg.jobs.run import run
from geoseg.jobs.status import clean, places, status_of
from geoseg.jobs.workspace import is_whole, workspace, write_manifest
from geoseg.recipe import Recipe
from geoseg.stac import relative_dates


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    image = write_image(folder / "scene.tif", smooth(0, (200, 200)), geobox_at(height=200, width=200))
    model = model_folder(folder / "model", family="small-unet", halo=8)
    return {"image": (str(image),), "model": str(model), "block_size": 100}


def stopped_at(monkeypatch, n, error):
    real, calls = run_module.Journal.note, []

    def note(self, fingerprint, done):
        calls.append(fingerprint)
        if len(calls) > n:
            raise error
        real(self, fingerprint, done)

    monkeypatch.setattr(run_module.Journal, "note", note)


def figures(text):
    return {
        (family.name, sample.labels["map"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_map_from_nothing_to_made(scene, tmp_path, monkeypatch):
    out = tmp_path / "map"
    assert status_of(out).state == "not begun"
    with monkeypatch.context() as patch:
        stopped_at(patch, 3, OutputError("https://me:secret@host/x?sig=token cannot be written."))
        with pytest.raises(OutputError):
            run(Recipe(**scene, out=str(out)))
    half = status_of(out)
    assert (half.state, half.is_made, half.tally.n_blocks, half.tally.n_done) == ("stopped", False, 4, 3)
    assert half.why == "https://host/x cannot be written."
    assert figures(prometheus_text([half]))["geoseg_run_stopped", str(out)] == 1
    run(Recipe(**scene, out=str(out), resume=True))
    made = status_of(out)
    assert (made.state, made.is_made, made.why) == ("made", True, "")
    assert (made.tally.n_kept, made.tally.n_made, made.tally.n_failed) == (3, 1, 0)
    assert made.tally.km2_made == pytest.approx(1)
    found = figures(prometheus_text([made]))
    assert found["geoseg_blocks_done", str(out)] == found["geoseg_blocks", str(out)] == 4
    assert found["geoseg_map_made", str(out)] == 1
    assert "secret" not in (out / LOG).read_text()
    assert "token" not in (out / LOG).read_text()


def test_while_it_runs(scene, tmp_path):
    seen = []

    class Looks(Said):
        def block(self, tally):
            seen.append(status_of(tmp_path / "map"))

    run(Recipe(**scene, out=str(tmp_path / "map")), listener=Looks())
    assert [s.state for s in seen] == ["running"] * 5
    assert [s.tally.n_done for s in seen] == [0, 1, 2, 3, 4]
    assert seen[0].left_s is None
    assert seen[4].left_s == 0
    assert seen[2].left_s == pytest.approx(seen[2].tally.seconds)


def test_an_old_map_stands_while_a_new_one_is_stopped(scene, tmp_path, monkeypatch):
    out = tmp_path / "map"
    run(Recipe(**scene, out=str(out)))
    before = rasters(out)
    with monkeypatch.context() as patch:
        stopped_at(patch, 2, RuntimeError("the power went"))
        with pytest.raises(RuntimeError):
            run(Recipe(**scene, tta="flip", out=str(out), overwrite=True))
    assert (status_of(out).state, status_of(out).is_made) == ("stopped", True)
    ((folder, n_bytes),) = clean(out)
    assert not folder.exists()
    assert n_bytes > 0
    assert status_of(out).state == "made"
    assert rasters(out) == before
    assert not list(clean(out))


def test_a_workspace_in_use_is_not_cleaned(tmp_path, capsys):
    with workspace(tmp_path / "map", overwrite=False) as folder:
        (folder / LOG).touch()
        assert not list(clean(tmp_path / "map"))
        jobs.clean(str(tmp_path / "map"))
        assert f"{tmp_path}/map: a run is at work there" in capsys.readouterr().out
        assert folder.exists()


@pytest.mark.parametrize("fails", ["plan_run", "tasks_of", "check_store"])
def test_a_job_that_ends_before_its_first_block_says_why(scene, tmp_path, monkeypatch, fails):
    """As when the catalog is down on the first of the month; what was asked for by hand leaves nothing."""
    out = tmp_path / "maps" / "map"
    keys = {**scene, "out": str(out), "store": f"file://{tmp_path}/parts"}

    def raises(*args, **more):
        raise CatalogError("https://me:secret@host/stac does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(run_module, fails, raises)
        for resume in (False, True, True):
            with pytest.raises(CatalogError, match="does not answer"):
                run(Recipe(**keys, resume=resume))
            assert [path.name for path in out.parent.glob(".*/*")] == [LOG] * resume
    found = status_of(out)
    assert (found.state, found.why, found.is_made) == ("stopped", "https://host/stac does not answer.", False)
    assert found.so_far.startswith("stopped: geoseg run makes")
    assert places(str(out.parent)) == [out]
    run(Recipe(**keys, resume=True))
    assert status_of(out).state == "made"
    assert [path.name for path in out.parent.iterdir()] == ["map"]


def test_what_a_run_has_done_is_kept_when_the_next_one_cannot_begin(scene, tmp_path, monkeypatch):
    out = tmp_path / "map"
    recipe = Recipe(**scene, out=str(out), resume=True)
    with monkeypatch.context() as patch:
        stopped_at(patch, 3, RuntimeError("the power went"))
        with pytest.raises(RuntimeError):
            run(recipe)
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "plan_run", lambda *args, **more: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(recipe)
    found = status_of(out)
    assert (found.state, found.why, found.tally.n_done) == ("stopped", "division by zero", 3)
    run(recipe)
    assert status_of(out).tally.n_kept == 3


def test_a_finished_map_that_waits_to_be_moved_is_let_alone(scene, tmp_path, monkeypatch):
    """Its files are as its manifest says; the next run moves it."""
    out = tmp_path / "map"
    recipe = Recipe(**scene, out=str(out), resume=True)
    with workspace(tmp_path / "other", overwrite=False) as folder:
        run(recipe.model_copy(update={"out": str(folder / "map")}))
        waiting = tmp_path / ".map.abc.partial"
        (folder / "map").rename(waiting)
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "plan_run", lambda *args, **more: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(recipe)
    assert is_whole(waiting)
    run(recipe)
    assert is_whole(out)
    assert not waiting.exists()


def test_no_log_is_left_where_other_things_lie(scene, tmp_path):
    (tmp_path / "map").mkdir()
    (tmp_path / "map" / "thesis.txt").touch()
    with pytest.raises(OutputError, match="holds files that are not a geoseg map"):
        run(Recipe(**scene, out=str(tmp_path / "map"), resume=True))
    assert [path.name for path in tmp_path.rglob("*")] == ["map", "thesis.txt"]


def test_maps_of_months_are_found(tmp_path, monkeypatch):
    for name in ("2026-09", ".2026-10.abc.partial", "other", ".other.abc.partial"):
        (tmp_path / "[maps]" / name).mkdir(parents=True)
    for out in (tmp_path / "[maps]" / "{month}", f"{tmp_path}//[maps]/{{month}}/", "./[maps]/{month}"):
        monkeypatch.chdir(tmp_path)
        recipe = Recipe(aoi="1,1,2,2", out=str(out))
        assert [path.name for path in outs_of(recipe)] == ["2026-09", "2026-10"]


def test_the_month_of_today_is_one_of_them(tmp_path, monkeypatch):
    class Today(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 11, 3, tzinfo=tz)

    monkeypatch.setattr(relative_dates, "datetime", Today)
    (tmp_path / "2026-08").mkdir()
    recipe = Recipe(aoi="1,1,2,2", datetime="last month", out=str(tmp_path / "{month}"))
    assert [path.name for path in outs_of(recipe)] == ["2026-08", "2026-10"]
    fixed = recipe.model_copy(update={"datetime": "2026-07"})
    assert [path.name for path in outs_of(fixed)] == ["2026-07", "2026-08"]


def test_maps_below_a_folder_are_found(tmp_path):
    for name in ("north/2026-09", "north/.2026-10.abc.partial", "south/2026/.09.abc.partial", "empty/more"):
        (tmp_path / "maps" / name).mkdir(parents=True)
    write_manifest(tmp_path / "maps" / "north" / "2026-09", {"geoseg": "0"})
    (tmp_path / "maps" / "within" / ".within.abc.partial").mkdir(parents=True)
    (tmp_path / "maps" / "round").symlink_to(tmp_path / "maps")
    found = [path.relative_to(tmp_path / "maps").as_posix() for path in places(str(tmp_path / "maps"))]
    assert found == ["north/2026-09", "north/2026-10", "south/2026/09", "within"]
    assert places(str(tmp_path / "maps" / "empty")) == [tmp_path / "maps" / "empty"]


def test_places_are_folders_or_recipes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "forest.toml"
    recipe.write_text('aoi = "1,1,2,2"\n')
    assert [str(path) for path in places(str(recipe))] == ["geoseg-out/area"]
    assert places(str(tmp_path)) == [tmp_path]
    with pytest.raises(RecipeError, match="nothing is neither a folder nor a recipe"):
        places("nothing")


def test_lines_that_are_none_are_left_out(tmp_path):
    log = Log(Said())
    log.say("before there is a folder")
    log.open(tmp_path)
    log.start("reading", 3)
    with (tmp_path / LOG).open("ab") as file:
        file.write(b'5\n{"event": "said"}\n\xff\xfe\n{"time": "2026-')
    again = Log(Said())
    again.open(tmp_path)
    again.say("after the cut")
    lines = list(read_log(tmp_path))
    assert [line["event"] for line in lines] == ["began", "said", "stage", "began", "said"]
    assert lines[-1]["text"] == "after the cut"
    assert status_of(tmp_path).stage == ""


def test_commands(scene, tmp_path, capsys):
    out = str(tmp_path / "map")
    run(Recipe(**scene, out=out))
    jobs.status(out, json=True)
    (status,) = json.loads(capsys.readouterr().out)
    assert (status["state"], status["n_done"], status["n_blocks"]) == ("made", 4, 4)
    jobs.status(out, prometheus=True)
    assert figures(capsys.readouterr().out)["geoseg_map_made", out] == 1
    jobs.status(out)
    assert "4 of 4" in capsys.readouterr().out
    jobs.logs(out, json=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines].count("block") == 5
    jobs.logs(out)
    assert "4 of 4 blocks" in capsys.readouterr().out
    (empty := tmp_path / "empty").mkdir()
    jobs.logs(str(empty))
    assert capsys.readouterr().out == f"{empty}: no run has left a log there.\n"
    jobs.clean(out)
    assert "Nothing to remove" in capsys.readouterr().out
