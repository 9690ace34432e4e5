"""Parts on their way from an object store to the client: as blocks end, or as a run before left them."""

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace

from geoseg.errors import StoreError
from geoseg.jobs.blocks import BlockDone, BlockTask
from geoseg.jobs.journal import Entry, is_whole, parsed
from geoseg.jobs.parts import note_of
from geoseg.jobs.store import Store
from geoseg.jobs.tries import BlockFailed, Ended

_AT_A_TIME = 8
"""Parts that are fetched at once; of each a piece is in memory."""
_WAITING = 32
"""More are not waited for: workers would be faster than the network of the client."""
_MADE = re.compile(r"(?:seams/)?\d{6,}-[0-9a-f]{16}\.tif(?:\.json)?|engine-[\w.-]+\.json|probe-[0-9a-f]{32}")
"""Names of what runs leave in a store."""


@contextmanager
def arrivals(
    tasks: Sequence[BlockTask], on_end: Callable[[Ended], None]
) -> Iterator[Callable[[Ended], None]]:
    """Who is to be told that a block has ended: ``on_end``, once its part is in the folder of the client.

    Parts in a store are fetched by some threads meanwhile; ``on_end`` is called in the thread of the caller,
    in any order, for all of them before this ends. A part that does not come back as it was is a block that
    failed.
    """
    if tasks[0].store is None:
        yield on_end
        return
    by_index = {task.block.index: task for task in tasks}
    under_way = set[Future[Ended]]()

    def tell(arrived: set[Future[Ended]]) -> None:
        under_way.difference_update(arrived)
        for future in arrived:
            on_end(future.result())

    def note(ended: Ended) -> None:
        if isinstance(ended, BlockDone):
            under_way.add(pool.submit(_brought, by_index[ended.index], ended))
        else:
            on_end(ended)
        if len(under_way) >= _WAITING:
            wait(under_way, return_when=FIRST_COMPLETED)
        tell({future for future in under_way if future.done()})

    with ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="geoseg-fetch") as pool:
        try:
            yield note
            tell(wait(under_way).done)
        finally:
            for future in under_way:
                future.cancel()


def left_in_store(tasks: Sequence[BlockTask]) -> Iterator[tuple[BlockTask, BlockDone]]:
    """Blocks that a run before, here or elsewhere, has left in the store whole; their parts are fetched."""
    if not tasks or tasks[0].store is None:
        return
    names = Store(tasks[0].store).sizes().keys()
    found = [task for task in tasks if {task.part, note_of(task.part)} <= names]
    with ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="geoseg-fetch") as pool:
        for task, entry in zip(found, pool.map(_fetched, found), strict=True):
            if entry is not None and not entry.done.gaps:  # what could not be read then may be there now
                yield task, replace(entry.done, index=task.block.index, part=task.part)


def clear_store(tasks: Sequence[BlockTask], *, also: Sequence[str] = (), is_own: bool = False) -> None:
    """Remove the parts of these blocks from their store, and nothing that others have put there.

    Args:
        tasks: of the map that is whole now.
        also: other names.
        is_own: no other map uses the store: what runs of this one that were given up have left goes too.
    """
    if not tasks or tasks[0].store is None:
        return
    store = Store(tasks[0].store)
    own = {name for task in tasks for name in (task.part, note_of(task.part))} | set(also)
    store.remove(name for name in store.sizes() if name in own or (is_own and _MADE.fullmatch(name)))


def _brought(task: BlockTask, done: BlockDone) -> Ended:
    if _fetched(task) is not None:
        return done
    lost = (
        f"Its part {task.part} does not come back from {Store(str(task.store)).address} as it was put there."
    )
    return BlockFailed(done.index, StoreError(f"{lost} Give each job a --store of its own, and go on."))


def _fetched(task: BlockTask) -> Entry | None:
    """The note of a part in the store, which is in ``task.parts`` then; None unless both are whole."""
    store, path = Store(str(task.store)), task.parts / task.part
    try:
        entry = parsed(store.read(note_of(task.part)) or b"")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    temporary = path.with_suffix(".fetched")
    try:
        if entry.fingerprint != task.fingerprint or not store.fetch(task.part, temporary):
            return None
        if not is_whole(temporary, entry):
            return None
        temporary.replace(path)
        return entry
    finally:
        temporary.unlink(missing_ok=True)
