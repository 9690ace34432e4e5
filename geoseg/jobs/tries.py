"""Blocks that fail: tried again in another way, and left at last, so that one does not stop the others."""

import errno
import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace

from geoseg.errors import CatalogError, GeosegError, ImageryError, ModelError, OutputError, RecipeError
from geoseg.imagery.reading import is_remote as is_remote_address
from geoseg.jobs.blocks import BlockDone, BlockTask
from geoseg.recipe import Recipe

_OF_ALL = (CatalogError, ModelError, OutputError, RecipeError)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_NO_MEMORY = re.compile(r"can't allocate memory|[Oo]ut of memory")
_ENDS_WORKERS = ("KilledWorker", "OutOfMemoryError")
"""Dask's word for a block whose workers died, one after the other, and torch's for a GPU; by name, since
neither package is needed otherwise."""
_SMALLEST_TILES = 2
"""A block is not cut into pieces smaller than so many tiles."""


@dataclass(frozen=True)
class BlockFailed:
    """A block that could not be made."""

    index: int
    error: Exception


Ended = BlockDone | BlockFailed
"""What becomes of a block."""


def concerns_all(error: Exception) -> bool:
    """Whether every other block would fail in the same way: then the run ends at once."""
    return isinstance(error, _OF_ALL) or (isinstance(error, OSError) and error.errno in _NO_ROOM)


def next_try(task: BlockTask, error: Exception, *, n_tried: int, recipe: Recipe) -> BlockTask | None:
    """What to try now that a block has failed; None where nothing is left to try.

    Out of memory, it is predicted in pieces, as long as these are no smaller than some tiles. What a server
    or a worker could not do is asked for again, ``tries`` times in all; what is wrong with a file on disk
    stays wrong. Then, if the recipe says so, what cannot be read is left out.
    """
    n_pieces, window = 2 * task.n_pieces, task.block.window
    is_cut = max(window.width, window.height) >= n_pieces * _SMALLEST_TILES * task.plan.stride
    if is_out_of_memory(error) and is_cut:
        return replace(task, n_pieces=n_pieces)
    may_pass = not isinstance(error, ImageryError) or is_remote(task)
    if may_pass and n_tried < recipe.tries:
        return task
    if isinstance(error, ImageryError) and recipe.on_missing == "skip" and not task.leaves_gaps:
        return replace(task, leaves_gaps=True)
    return None


def is_out_of_memory(error: Exception) -> bool:
    """Whether a process or a GPU had not enough memory, or was killed again and again, as systems do then."""
    if isinstance(error, MemoryError) or type(error).__name__ in _ENDS_WORKERS:
        return True
    return isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None


def is_remote(task: BlockTask) -> bool:
    """Whether any of its pixels come from a server."""
    assets = (item["assets"] for item in task.items)
    return any(is_remote_address(a["href"]) for found in assets for a in found.values())  # type: ignore[attr-defined]


def let_go(error: BaseException | None) -> None:
    """Of what the functions held that an error went through: the next try needs that memory."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def failure_of(failed: Sequence[BlockFailed], n_blocks: int) -> Exception:
    """The error that a run ends with when blocks are left that cannot be made."""
    first = next((f for f in failed if not isinstance(f.error, GeosegError)), failed[0])
    if n_blocks == 1:
        return first.error
    if len(failed) == n_blocks:
        many = f"All {n_blocks} blocks failed"
    else:
        blocks = "1 block" if len(failed) == 1 else f"{len(failed)} blocks"
        many = f"{blocks} of {n_blocks} failed, the others are done"
    text = f"{many}. Block {first.index}: {first.error}"
    if isinstance(first.error, GeosegError):
        error = type(first.error)(text)
        error.__cause__ = first.error
        return error
    first.error.add_note(text)
    return first.error
