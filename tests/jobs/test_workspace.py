"""A map that was finished is not lost, wherever the run that made it is killed."""

import json
import os
import shutil
from pathlib import Path
from threading import Timer

import pytest

from geoseg.errors import OutputError
from geoseg.jobs.leavings import is_taken, lock, unlock
from geoseg.jobs.log import LOG
from geoseg.jobs.status import clean, status_of
from geoseg.jobs.workspace import MANIFEST, workspace

OLD = {"class.tif": "old", "class.qml": "old"}
NEW = {"class.tif": "new", "extra.tif": "new"}


def fill(folder, files):
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / MANIFEST).write_text(json.dumps({"geoseg": "1", "files": dict.fromkeys(files)}))


def contents(folder):
    return {
        path.name: path.read_text() for path in folder.iterdir() if path.name != MANIFEST and path.is_file()
    }


def killed(target, monkeypatch, *, at=None, renames=0):
    """Make a map over ``target`` in a child that dies before its n-th rename, or before it removes what is
    left (``at="end"``); whether it died.
    """
    real, calls = Path.rename, []

    def rename(self, goal):
        calls.append(goal)
        if len(calls) == renames:
            os._exit(9)
        return real(self, goal)

    if (child := os.fork()) == 0:
        try:
            monkeypatch.setattr(Path, "rename", rename)
            with workspace(target, overwrite=True) as folder:
                (folder / "parts").mkdir()
                fill(folder, NEW)
                if at == "end":
                    monkeypatch.setattr(
                        shutil, "rmtree", lambda path, **_: path.name == "parts" or os._exit(9)
                    )
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


def go_on(target):
    with workspace(target, overwrite=True, resume=True):
        pass  # a run that finds nothing to do


@pytest.mark.parametrize("is_there", [True, False])
def test_a_kill_between_any_two_moves(is_there, tmp_path, monkeypatch):
    for n in range(1, 9):
        target = tmp_path / str(n) / "map"
        if is_there:
            target.mkdir(parents=True)
            fill(target, OLD)
        was_killed = killed(target, monkeypatch, renames=n)
        go_on(target)
        assert contents(target) == NEW
        assert (target / MANIFEST).exists()
        assert not list(target.parent.rglob(".*"))
        if not was_killed:
            assert n == (7 if is_there else 2)
            return
    pytest.fail("it was never left alone")


def test_a_kill_after_the_last_move(tmp_path, monkeypatch):
    target = tmp_path / "map"
    target.mkdir()
    fill(target, OLD)
    assert killed(target, monkeypatch, at="end")
    assert contents(target) == NEW
    assert status_of(target).state == "made"
    go_on(target)
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("n", [1, 3, 5])
def test_what_is_put_there_meanwhile_stays(n, tmp_path, monkeypatch):
    target = tmp_path / "map"
    target.mkdir()
    fill(target, OLD)
    assert killed(target, monkeypatch, renames=n)
    (target / "notes.gpkg").write_text("mine")
    with pytest.raises(OutputError, match=r"did not write: notes\.gpkg"):
        go_on(target)
    assert (target / "notes.gpkg").read_text() == "mine"
    (target / "notes.gpkg").unlink()
    go_on(target)
    assert contents(target) == NEW


def test_a_finished_map_does_not_replace_what_is_not_a_map(tmp_path, monkeypatch):
    target = tmp_path / "map"
    assert killed(target, monkeypatch, renames=1)
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"did not write: mine\.txt"):
        go_on(target)
    assert contents(target) == {"mine.txt": "mine"}
    assert clean(target) == []
    (target / "mine.txt").unlink()
    go_on(target)
    assert contents(target) == NEW


def test_only_one_run_ends_a_move(tmp_path, monkeypatch):
    target = tmp_path / "map"
    assert killed(target, monkeypatch, renames=1)
    (folder,) = tmp_path.glob(".map.*.partial")
    handle = lock(folder)
    with pytest.raises(OutputError, match="Another run"):
        go_on(target)
    assert contents(folder) == NEW
    unlock(handle)
    go_on(target)
    assert contents(target) == NEW


def test_a_look_does_not_keep_a_run_out(tmp_path):
    with workspace(tmp_path / "map", overwrite=False) as folder:
        (folder / "journal.jsonl").touch()
        assert is_taken(folder)
    handle = lock(tmp_path)
    Timer(0.2, unlock, [handle]).start()
    assert lock(tmp_path, patience_s=0) is None
    late = lock(tmp_path)
    assert late is not None
    unlock(late)


def test_a_map_with_a_longer_name_is_another(tmp_path, monkeypatch):
    assert killed(tmp_path / "map.v2", monkeypatch, renames=1)
    go_on(tmp_path / "map")
    assert clean(tmp_path / "map") == []
    go_on(tmp_path / "map.v2")
    assert contents(tmp_path / "map.v2") == NEW
    assert not (tmp_path / "map").exists()


def test_what_a_run_left_without_a_journal_goes(tmp_path):
    left = tmp_path / ".map.abc.partial"
    left.mkdir()
    (left / LOG).touch()
    assert status_of(tmp_path / "map").state == "stopped"
    go_on(tmp_path / "map")
    assert not left.exists()
