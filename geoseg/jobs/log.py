"""What happens in a run, as lines of JSON: for people (``geoseg logs``), and for what watches over jobs."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from geoseg.jobs.listener import BlockTally, Listener
from geoseg.redaction import redact

LOG = "log.jsonl"


class Log:
    """A listener that writes down what it hears, and passes it on.

    A line is an object with ``time`` (UTC, ISO 8601) and ``event``: ``began``, ``said`` (``text``),
    ``stage``, ``block`` (the fields of :class:`geoseg.jobs.listener.BlockTally`), or ``ended`` (``why``).
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._path: Path | None = None
        self._lines = [_line("began")]
        self._is_ended = False

    @property
    def is_there(self) -> bool:
        """Whether the file is where it was opened."""
        return self._path is not None and self._path.exists()

    def open(self, folder: Path) -> None:
        """From now on in ``folder``, behind the lines of a run before; also what was heard so far, but of
        blocks.
        """
        self._path = folder / LOG
        is_cut = self._path.exists() and not self._path.read_bytes().endswith(b"\n")
        self._append("\n" * is_cut + "".join(self._lines))

    def say(self, text: str) -> None:
        """A line of text."""
        self._write("said", text=redact(text))
        self._listener.say(text)

    def start(self, stage: str, total: int) -> None:
        """A stage begins."""
        self._write("stage", stage=stage)
        self._listener.start(stage, total)

    def advance(self, amount: int) -> None:
        """Not written down: there are too many."""
        self._listener.advance(amount)

    def block(self, tally: BlockTally) -> None:
        """A block is done, or has failed."""
        self._write("block", **asdict(tally))
        self._listener.block(tally)

    def end(self, error: BaseException) -> None:
        """The run ends before its map is made; what it is told later is not heard."""
        if self._is_ended:
            return
        self._is_ended = True
        words = "it was interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
        self._write("ended", why=redact(" ".join(words.split())) or type(error).__name__)

    def _write(self, event: str, **facts: Any) -> None:
        line = _line(event, **facts)
        if event != "block":  # there are very many
            self._lines.append(line)
        self._append(line)

    def _append(self, lines: str) -> None:
        """In one piece, since several threads write; a full disk stops the run elsewhere, with its reason."""
        if self._path is not None:
            with suppress(OSError), self._path.open("a", encoding="utf-8") as file:
                file.write(lines)


def _line(event: str, **facts: Any) -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": now, "event": event, **facts}) + "\n"


def read_log(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of a folder's log, the first one first; what is none, as one cut short, is left out."""
    with suppress(OSError), (folder / LOG).open(encoding="utf-8", errors="replace") as file:
        for text in file:
            with suppress(ValueError, TypeError, KeyError):
                line = json.loads(text)
                datetime.fromisoformat(line["time"])
                line["event"] = str(line["event"])
                yield line
