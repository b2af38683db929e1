"""Remember what samples were drawn with, besides their seed, indices and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganserve._marks.mark import request_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message


class Origin:
    """The package of samples, and the options of their request, for the marks of pictures.

    Options are read from the request when they are first needed: most batches become no picture.
    """

    __slots__ = ("_options", "complete", "package_sha256", "w_given")

    def __init__(
        self, package_sha256: str = "", options: str | Message = "", *, complete: bool = True, w_given: bool = False
    ) -> None:
        """Take the package, and the options as JSON or in the SampleRequest that has them, which changes no more."""
        self.package_sha256 = package_sha256
        """SHA-256 of the package's manifest, 64 lower-case hexadecimal digits; empty: unknown."""
        self.complete = complete
        """False if samples were drawn with different options."""
        self.w_given = w_given
        """True if the request gave w's, which then determine the samples."""
        self._options = options

    @classmethod
    def common(cls, origins: Sequence[Origin | None]) -> Origin | None:
        """Return the origin of samples of these, not complete if they differ."""
        first = origins[0]
        if all(origin is first or origin == first for origin in origins):
            return first
        packages = {"" if origin is None else origin.package_sha256 for origin in origins}
        return cls(packages.pop() if len(packages) == 1 else "", complete=False)

    @property
    def options(self) -> str:
        """Fields of the SampleRequest that determine the samples besides model, seed, index and label, as JSON."""
        if not isinstance(self._options, str):
            self._options = request_options(self._options)
        return self._options

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Origin):
            return NotImplemented
        return self._facts() == other._facts()

    def __hash__(self) -> int:
        return hash(self._facts())

    def __getstate__(self) -> tuple[str, str, bool, bool]:
        return self._facts()

    def __setstate__(self, facts: tuple[str, str, bool, bool]) -> None:
        self.package_sha256, self._options, self.complete, self.w_given = facts

    def _facts(self) -> tuple[str, str, bool, bool]:
        return self.package_sha256, self.options, self.complete, self.w_given

    def __repr__(self) -> str:
        return f"Origin({self.package_sha256!r}, {self.options!r})"
