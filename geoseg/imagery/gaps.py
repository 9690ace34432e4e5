"""What could not be read and was left out, where a run may go on without it."""

from geoseg.errors import ImageryError
from geoseg.redaction import redact


class Gaps:
    """Files with pixels that could not be read and are nodata instead, each with a reason.

    Threads that read may note at the same time.
    """

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    def note(self, address: str, error: ImageryError) -> None:
        """The pixels of a file are left out; of several reasons the first is kept."""
        self._reasons.setdefault(redact(address), str(error))

    def __contains__(self, address: str) -> bool:
        return redact(address) in self._reasons

    @property
    def reasons(self) -> tuple[tuple[str, str], ...]:
        """Files, each with its reason."""
        return tuple(sorted(self._reasons.items()))
