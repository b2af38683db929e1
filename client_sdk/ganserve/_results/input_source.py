"""Name the source of samples in the errors about them."""

from dataclasses import dataclass

from ganserve._errors import InvalidRequest


class NeedsFittingError(InvalidRequest):
    """A picture has another size or other channels than the model's samples; cutting and resizing would change that."""


@dataclass(frozen=True, slots=True)
class Source:
    """The argument, and the file if there is one, that samples came from."""

    argument: str = "images"
    """The argument's name."""
    file: str | None = None
    """The file's name."""

    def refuse(self, description: str) -> InvalidRequest:
        """Return the error for these samples."""
        return InvalidRequest.of(self.argument, self._said(description))

    def refuse_form(self, description: str) -> InvalidRequest:
        """Return the error for a picture of another size or other channels, a `NeedsFittingError`."""
        return NeedsFittingError.of(self.argument, self._said(description))

    def _said(self, description: str) -> str:
        return description if self.file is None else f"{self.file!r} {description}"
