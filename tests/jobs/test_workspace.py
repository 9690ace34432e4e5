"""A map that was finished is not lost, wherever the run that made it is killed."""

import json
import os
from pathlib import Path

import pytest

from geoseg.jobs.workspace import MANIFEST, workspace

NEW = {"class.tif": "new", "extra.tif": "new"}


def fill(folder, files):
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / MANIFEST).write_text(json.dumps({"geoseg": "1", "files": dict.fromkeys(files)}))


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != MANIFEST}


def killed_at_rename(n, target, monkeypatch):
    """Make a map over ``target`` in a child that dies before its n-th rename; whether it died."""
    real, calls = Path.rename, []

    def rename(self, goal):
        calls.append(goal)
        if len(calls) == n:
            os._exit(9)
        return real(self, goal)

    if (child := os.fork()) == 0:
        monkeypatch.setattr(Path, "rename", rename)
        with workspace(target, overwrite=True) as folder:
            (folder / "parts").mkdir()
            fill(folder, NEW)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("is_there", [True, False])
def test_a_kill_between_any_two_moves(is_there, tmp_path, monkeypatch):
    for n in range(1, 9):
        target = tmp_path / str(n) / "map"
        if is_there:
            target.mkdir(parents=True)
            fill(target, {"class.tif": "old", "class.qml": "old"})
        was_killed = killed_at_rename(n, target, monkeypatch)
        with workspace(target, overwrite=True, resume=True):
            pass  # a run that finds nothing to do
        assert contents(target) == NEW
        assert (target / MANIFEST).exists()
        assert [path.name for path in (*target.parent.iterdir(), *target.iterdir())].count("map") == 1
        assert not list(target.parent.rglob(".*"))
        if not was_killed:
            assert n == (7 if is_there else 2)
            return
    pytest.fail("it was never left alone")


def test_a_finished_map_does_not_replace_what_is_not_a_map(tmp_path, monkeypatch):
    target = tmp_path / "map"
    assert killed_at_rename(1, target, monkeypatch)
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    with pytest.raises(Exception, match="not a geoseg map"), workspace(target, overwrite=True, resume=True):
        pass
    assert contents(target) == {"mine.txt": "mine"}
    assert list(tmp_path.glob(".map.*.partial"))
