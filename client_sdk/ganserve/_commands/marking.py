"""Options of commands that write pictures: how to mark them."""

from dataclasses import dataclass
from pathlib import Path

from ganserve import Marking, PictureSigner
from ganserve._command_framework.options import flag
from ganserve._errors import InvalidRequest


@dataclass(frozen=True, kw_only=True)
class MarkingArguments:
    """Options that say how to mark pictures."""

    mark: bool = flag(True, last=True)
    """Say in pictures that they are generated, and what it takes to draw them again, as XMP, for `ganserve verify`.
    Without it, files have the picture alone."""
    c2pa_certificate: Path | None = flag(None, metavar="FILE", last=True)
    """PEM file of a certificate for C2PA, with those of the authorities behind it: pictures get a signed C2PA manifest,
    too (needs the extra c2pa)."""
    c2pa_key: Path | None = flag(None, metavar="FILE", last=True)
    """PEM file of its private key."""

    @property
    def marking(self) -> Marking:
        """The argument `mark` of the SDK."""
        if self.c2pa_certificate is None and self.c2pa_key is None:
            return self.mark
        if self.c2pa_certificate is None or self.c2pa_key is None:
            given, other = ("certificate", "key") if self.c2pa_key is None else ("key", "certificate")
            value = self.c2pa_certificate or self.c2pa_key
            raise InvalidRequest(f"--c2pa-{given} {value}: needs --c2pa-{other}. Give both, or neither.")
        if not self.mark:
            given = str(self.c2pa_certificate)
            raise InvalidRequest(
                f"--c2pa-certificate {given}: signs marks, which --no-mark leaves out. Leave out either."
            )
        try:
            return PictureSigner(self.c2pa_certificate, self.c2pa_key)
        except InvalidRequest as error:
            (wrong,) = error.violations
            raise InvalidRequest(f"--c2pa-{wrong.field} {wrong.description}") from error
