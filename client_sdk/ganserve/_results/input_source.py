"""Name the source of samples in the errors about them."""

from dataclasses import dataclass

from ganserve._errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Source:
    """The argument, and the file if there is one, that samples came from."""

    argument: str = "images"
    """The argument's name."""
    file: str | None = None
    """The file's name."""

    def refuse(self, description: str) -> InvalidRequest:
        """Return the error for these samples."""
        return InvalidRequest.of(self.argument, description if self.file is None else f"{self.file!r} {description}")
