"""Adding to a folder of chips: one at a time, and all of it or nothing."""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from geoseg.errors import OutputError, TrainingError, one_line
from geoseg.evaluation.labelled_document import LabelledImages
from geoseg.training.chip_folder import (
    DESCRIPTION,
    IMAGES,
    INDEX,
    LABELS,
    Chip,
    ChipFolder,
    read_chip_folder,
    write_description,
)

LOCK = ".adding"
"""Lies in a folder while it is added to."""
INTERIM = "index.new.csv"
"""The index while the old one is replaced: a description names one of the two, so both change at once."""
_RUN = ".run"


@contextmanager
def added_to(folder: Path) -> Iterator[ChipFolder]:
    """What the folder says; nobody else adds to it meanwhile, and what a broken run left there is gone.

    Raises:
        TrainingError: it is no folder of chips.
        EvaluationError: its files cannot be read.
        OutputError: it is being added to, or cannot be written.
    """
    if not (folder / DESCRIPTION).is_file():
        raise TrainingError(
            f"{folder} holds no {DESCRIPTION} to add to. Leave out --add to make a new folder."
        )
    lock = folder / LOCK
    try:
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        raise OutputError(
            f"Another geoseg chips adds to {folder}. Wait for it; if none runs, remove {lock}."
        ) from None
    except OSError as error:
        raise _unwritable(folder, error) from None
    try:
        before = read_chip_folder(folder)
        _clear(folder, before)
        yield before
    finally:
        with suppress(OSError):
            lock.unlink(missing_ok=True)


@contextmanager
def new_files(folder: Path) -> Iterator[Path]:
    """A place in the folder for the files of a run, on the same disk.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with TemporaryDirectory(prefix=_RUN, dir=folder, ignore_cleanup_errors=True) as name:
            yield Path(name)
    except OSError as error:
        raise _unwritable(folder, error) from None


def publish(
    files: Path, folder: Path, before: ChipFolder, document: LabelledImages, rows: Sequence[Chip],
    notes: Sequence[str],
) -> None:  # fmt: skip
    """New files come beside the old ones; then the description, which names a new index, makes them a part.

    Raises:
        OSError: the folder cannot be written; it reads as before.
        OutputError: likewise.
    """
    for path in sorted(files.rglob("*.tif")):
        path.replace(folder / path.relative_to(files))
    index = INTERIM if before.document.index == INDEX else INDEX
    write_description(folder, document.model_copy(update={"index": index}), rows, notes)
    with suppress(OSError, OutputError):  # all is there; only the index has another name if this fails
        if index == INTERIM:
            write_description(folder, document.model_copy(update={"index": INDEX}), rows, notes)
        (folder / INTERIM).unlink(missing_ok=True)


def _clear(folder: Path, before: ChipFolder) -> None:
    """Remove what runs that broke left behind: their folders, half-written texts, chips in no index."""
    own = {row.chip for row in before.rows}
    name = re.compile(rf"{before.next_run}_-?\d+_-?\d+")
    try:
        for path in folder.glob(f"{_RUN}*/"):
            shutil.rmtree(path, ignore_errors=True)
        for text in (DESCRIPTION, INDEX, INTERIM):
            for path in folder.glob(f".{text}.*"):
                path.unlink()
        for pattern in (IMAGES, LABELS):
            for path in folder.glob(pattern.format(chip="*")):
                if name.fullmatch(path.stem) and path.stem not in own:
                    path.unlink()
    except OSError as error:
        raise _unwritable(folder, error) from None


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{folder} cannot be written: {one_line(error)}. It reads as before; add again when it can."
    )
