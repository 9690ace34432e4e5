"""Which backend is fastest here and says the same: measured on tiles of the job, never guessed."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from geoseg.errors import GeosegError
from geoseg.inference.backends import BACKENDS, EAGER, Network, Precision, Work, full_batch, prepare, why_not
from geoseg.inference.device import halved, on
from geoseg.models.int8_network import observe
from geoseg.models.zoo import Model, ready

Tiles = Sequence[NDArray[np.float32]]
LEAST_AGREEMENT: dict[Precision, float] = {"float32": 0.999, "bf16": 0.999, "int8": 0.995}
"""Share of pixels whose class must be that of float32 in torch."""
_ROUNDS = 3
_WORTH = 4
"""What usually takes longer to make ready than this part of all tiles in torch is not tried."""
_HOPELESS = 2.0
"""What took so many times as long as the best is not timed again."""


@dataclass(frozen=True)
class Measured:
    """What was found of one backend in one precision."""

    name: str
    precision: Precision
    reason: str
    """Why it was chosen or not, as the end of a sentence."""
    size: int | None = None
    """Side of the tiles that it was run on, pixels; None where it was not run."""
    ms_per_tile: float | None = None
    """None where it was not run."""
    prepare_s: float | None = None
    """Making it ready, and its first tile, seconds."""
    agreement: float | None = None
    """Share of pixels of the tiles whose class is that of float32 in torch, 0..1."""

    def text(self) -> str:
        """One line for people."""
        if self.ms_per_tile is None or self.agreement is None:
            return f"{self.name} {self.precision}: {self.reason}"
        return (
            f"{self.name} {self.precision}: {self.ms_per_tile:.0f} ms per tile of {self.size} pixels, "
            f"ready in {self.prepare_s:.1f} s, {self.agreement:.3%} of classes alike: {self.reason}"
        )


@dataclass(frozen=True)
class Choice:
    """The backend that a job is run by, and what it was measured against."""

    work: Work
    name: str
    measured: tuple[Measured, ...]
    """The chosen one first, then by time, then those that were not run."""


@dataclass
class _Candidate:
    name: str
    work: Work
    network: Network
    prepare_s: float
    agreement: float
    seconds: float = float("inf")
    """The best time of a tile so far."""

    def total_s(self, n_tiles: int) -> float:
        return self.prepare_s + n_tiles * self.seconds


def choose(
    model: Model,
    tiles: Tiles,
    work: Work,
    *,
    n_tiles: int,
    precisions: Sequence[Precision] = ("float32",),
    names: Sequence[str] | None = None,
) -> Choice:
    """The backend with which ``n_tiles`` are done first, preparation included.

    All that can run here are prepared, run once, and then timed in turn, so that what else the machine does
    meets them alike. One whose preparation usually takes longer than all tiles take in torch is not tried.
    What takes a class for another one too often (:data:`LEAST_AGREEMENT`) is never chosen.

    Args:
        model: is not changed.
        tiles: a few (band, size, size) of the job as reflectance, NaN = nodata, sides as ``work.size``.
        work: what it is for; ``precision`` does not matter. Without ``int8``, ranges are observed on
            the tiles.
        n_tiles: that are to be run after these.
        precisions: that may be taken.
        names: of the backends that may be taken; None for all that are worth a try.

    Raises:
        ModelError: the network itself cannot run.
    """
    try:
        return _choose(model, tiles, work, n_tiles=n_tiles, precisions=precisions, names=names)
    except torch.OutOfMemoryError:
        n = work.batch_size  # what was tried is let go before the next try, not while the error is at hand
    work = replace(work, batch_size=halved(n, model=model.card.name, size=work.size, device=work.device))
    return choose(model, tiles, work, n_tiles=n_tiles, precisions=precisions, names=names)


def _choose(
    model: Model,
    tiles: Tiles,
    work: Work,
    *,
    n_tiles: int,
    precisions: Sequence[Precision],
    names: Sequence[str] | None,
) -> Choice:
    ones = [ready(torch.from_numpy(tile)[None], model.card) for tile in tiles]  # the model is on the CPU
    batches = [full_batch(one.to(work.device), work.batch_size) for one in ones]
    with on(work.device), torch.inference_mode():
        expected = [_classes(model.module(one)).to(work.device) for one in ones]
        first = _candidate(EAGER, model, replace(work, precision="float32"), batches, expected)
        _time(first, batches)
        tried, told = [first], list[Measured]()
        worth = [name for name in BACKENDS if work.device.type not in BACKENDS[name].not_worth]
        for name in worth if names is None else names:
            for precision in precisions:
                if (name, precision) == (EAGER, "float32"):
                    continue
                enough = n_tiles * first.seconds if "float32" in precisions else float("inf")
                found = _try(
                    name, model, replace(work, precision=precision), batches, expected, tiles, enough
                )
                (tried if isinstance(found, _Candidate) else told).append(found)  # type: ignore[arg-type]
        for _ in range(_ROUNDS):
            best = min(candidate.seconds for candidate in tried)
            for candidate in tried:
                if candidate.seconds < _HOPELESS * best or candidate.seconds == float("inf"):
                    _time(candidate, batches)
    return _choice(tried, told, n_tiles, precisions)


def _try(
    name: str,
    model: Model,
    work: Work,
    batches: Sequence[torch.Tensor],
    expected: Sequence[torch.Tensor],
    tiles: Tiles,
    eager_s: float,
) -> _Candidate | Measured:
    """The backend made ready and run, or why not: ``eager_s`` is what all tiles take in torch."""
    if eager_s < _WORTH * BACKENDS[name].prepare_s:
        return Measured(name, work.precision, f"not tried: in torch all tiles take {eager_s:.0f} s")
    try:
        if work.precision == "int8" and work.int8 is None and "int8" in BACKENDS[name].precisions:
            with torch.inference_mode(False):
                work = replace(work, int8=observe(model, tiles))
        if (reason := why_not(name, work)) is not None:
            return Measured(name, work.precision, reason)
        return _candidate(name, model, work, batches, expected)
    except GeosegError as error:
        return Measured(name, work.precision, str(error))
    except torch.OutOfMemoryError:
        return Measured(name, work.precision, f"has no memory for {work.batch_size} tiles at a time")


def _candidate(
    name: str,
    model: Model,
    work: Work,
    batches: Sequence[torch.Tensor],
    expected: Sequence[torch.Tensor],
) -> _Candidate:
    started = time.perf_counter()
    network = prepare(name, model, work)
    network(batches[0])
    prepare_s = time.perf_counter() - started
    alike = [(_classes(network(b)) == e).float().mean() for b, e in zip(batches, expected, strict=True)]
    return _Candidate(name, work, network, prepare_s, float(torch.stack(alike).mean()))


def _time(candidate: _Candidate, batches: Sequence[torch.Tensor]) -> None:
    for batch in batches:
        _wait(batch.device)
        started = time.perf_counter()
        candidate.network(batch)
        _wait(batch.device)
        candidate.seconds = min(candidate.seconds, (time.perf_counter() - started) / len(batch))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _classes(logits: torch.Tensor) -> torch.Tensor:
    return logits.argmax(1)


def _choice(
    tried: Sequence[_Candidate], told: Sequence[Measured], n_tiles: int, precisions: Sequence[Precision]
) -> Choice:
    able = [
        c
        for c in tried
        if c.agreement >= LEAST_AGREEMENT[c.work.precision] and c.work.precision in precisions
    ]
    chosen = min(able or tried[:1], key=lambda c: c.total_s(n_tiles))
    others = sorted((c for c in tried if c is not chosen), key=lambda c: c.seconds)
    measured = [_measured(chosen, "chosen")]
    for other in others:
        if other.agreement < LEAST_AGREEMENT[other.work.precision]:
            reason = f"its classes differ: {LEAST_AGREEMENT[other.work.precision]:.1%} must be alike"
        elif other.seconds >= chosen.seconds:
            reason = f"{other.seconds / chosen.seconds:.2f} times as long"
        else:
            reason = f"faster, but {n_tiles} tiles do not make up for the time to make it ready"
        measured.append(_measured(other, reason))
    return Choice(chosen.work, chosen.name, (*measured, *told))


def _measured(candidate: _Candidate, reason: str) -> Measured:
    return Measured(
        candidate.name,
        candidate.work.precision,
        reason,
        size=candidate.work.size,
        ms_per_tile=candidate.seconds * 1000,
        prepare_s=candidate.prepare_s,
        agreement=candidate.agreement,
    )
