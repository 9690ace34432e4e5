"""Folders that appear when they are whole; what could not be written is said, what else went wrong is not hidden."""

import pytest

from geoseg.errors import ModelError
from geoseg.models.folders import make_folder


def write(folder):
    folder.mkdir()
    (folder / "a").write_text("a")


def test_a_folder_appears_when_it_is_whole(tmp_path):
    make_folder(tmp_path / "new" / "model", write)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["model"]


def test_what_cannot_be_written_is_said_and_what_cannot_be_read_is_not_called_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match=r"cannot be written: (File exists|Not a directory)\. Give another"):
        make_folder(tmp_path / "file" / "model", write)

    def full(folder):
        write(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(ModelError, match="cannot be written: No space left on device"):
        make_folder(tmp_path / "model", full)

    def reads(folder):
        write(folder)
        (tmp_path / "image.tif").read_bytes()

    with pytest.raises(FileNotFoundError, match=r"image\.tif"):
        make_folder(tmp_path / "model", reads)

    def is_damaged(folder):
        raise OSError("not a TIFF")  # as rasterio and Pillow say it

    with pytest.raises(OSError, match="not a TIFF"):
        make_folder(tmp_path / "model", is_damaged)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
