"""Name and count the images that can't be read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ganserve_training.errors import DataError

_NAMED = 10


@dataclass(frozen=True, slots=True)
class BadFile:
    """An image that can't be used."""

    name: str
    """Its path, or its Parquet file and row."""
    why: str
    """The reason."""

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


@dataclass(frozen=True, slots=True)
class BadFiles:
    """All bad images of a set, in the set's order."""

    files: tuple[BadFile, ...]
    total: int
    """Number of images, good and bad."""

    def message(self, limit: int = _NAMED) -> str:
        """Return the number of bad images, then the first `limit` of them, one a line."""
        lines = [f"{len(self.files):,} of {self.total:,} images can't be used:"]
        lines += [f"  {file}" for file in self.files[:limit]]
        if len(self.files) > limit:
            lines.append(f"  and {len(self.files) - limit:,} more")
        return "\n".join(lines)


ReportBadFiles = Callable[[BadFiles], None]
"""Called once with all bad files that are skipped."""


def settle_bad_files(
    bad: Sequence[BadFile], total: int, *, on_bad_file: Literal["fail", "skip"], report: ReportBadFiles | None
) -> None:
    """Raise or report an error about bad files.

    Raises:
        DataError: There are bad files and `on_bad_file` is fail, or all `total` files are bad.
    """
    if not bad:
        return
    found = BadFiles(tuple(bad), total)
    if on_bad_file == "fail":
        raise DataError(f"{found.message()}\nRepair or remove them, or continue without them: --data.on-bad-file skip")
    if len(bad) == total:
        raise DataError(f"{found.message()}\nNone is left to learn from")
    if report is not None:
        report(found)
