"""Model folders as wholes: copies with a calibration, ensembles."""

import shutil
from collections.abc import Callable
from pathlib import Path

from geoseg.errors import ModelError, one_line
from geoseg.models.calibration import CALIBRATION_NAME, ModelCalibration, write_calibration
from geoseg.models.zoo import folder_of, load_model, save_model


def refuse_kept(model: str, out: Path | None, *, overwrite: bool) -> Path:
    """The folder that a calibration of ``model`` is to be kept in.

    Raises:
        ModelError: a built-in model has no folder; or something lies there already.
    """
    if out is not None:
        refuse_existing(out)
        return out
    folder = Path(model)
    if not folder.is_dir():
        raise ModelError(f"{model} is built in: it has no folder for a calibration. Give --out FOLDER.")
    if (folder / CALIBRATION_NAME).exists() and not overwrite:
        raise ModelError(f"{folder} has a calibration already. Give --overwrite or --out FOLDER.")
    return folder


def keep_calibration(calibration: ModelCalibration, model: str, folder: Path) -> Path:
    """Write ``calibration.json`` into ``folder``; one that is not there yet becomes a copy of the model."""
    if folder.is_dir():
        return write_calibration(calibration, folder)

    def fill(temporary: Path) -> None:
        source = folder_of(model)
        if source is not None:
            shutil.copytree(source, temporary)
        else:
            save_model(load_model(model), temporary)
        write_calibration(calibration, temporary)

    make_folder(folder, fill)
    return folder / CALIBRATION_NAME


def refuse_existing(out: Path) -> None:
    """Raises ModelError where something lies at ``out``."""
    if out.exists():
        raise ModelError(f"{out} exists already. Give the name of a new folder.")


def make_folder(out: Path, fill: Callable[[Path], object]) -> None:
    """A new folder that appears when ``fill`` has written all of it.

    Raises:
        ModelError: it cannot be written. What ``fill`` cannot read is its own error.
    """
    temporary = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        fill(temporary)
        temporary.rename(out)
    except OSError as error:
        if not _is_of_writing(error, out, temporary):
            raise
        raise ModelError(f"{out} cannot be written: {one_line(error)}. Give another --out.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_of_writing(error: OSError, *folders: Path) -> bool:
    """Whether the system says so of these folders or of no file, as when a disk is full.

    What libraries say of damaged files has no number.
    """
    if error.errno is None or error.filename is None:
        return error.errno is not None
    file = Path(error.filename)
    return any(file.is_relative_to(folder) or folder.is_relative_to(file) for folder in folders)
