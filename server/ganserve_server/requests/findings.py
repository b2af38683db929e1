"""Collect all problems of a request before it is refused."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

from ganserve_server.errors import FailedPreconditionError, FieldViolation, InvalidRequestError, UnsupportedError

_MOST_VIOLATIONS = 64  # reported: an answer's headers have room for a few


@dataclass(slots=True)  # not frozen: made for every request, and freezing takes time
class Findings:
    """The problems of one request.

    Invalid fields are reported first (InvalidRequestError); without any, what this server cannot do (UnsupportedError);
    without that, what the model cannot do (FailedPreconditionError).
    """

    prefix: str = ""
    """Prefix of all fields, such as "request."."""
    violations: dict[str, str] = field(default_factory=dict)
    """The first problem of each wrong field."""
    unsupported_features: list[str] = field(default_factory=list)
    preconditions: list[str] = field(default_factory=list)

    def below(self, prefix: str) -> Findings:
        """Return findings that add to these and put `prefix` before each field."""
        return replace(self, prefix=self.prefix + prefix)

    def invalid(self, name: str, description: str) -> None:
        """Add a wrong field: its value, what was expected, the fix. A field's first problem is the one reported."""
        self.violations.setdefault(self.prefix + name, description)

    def add(self, error: InvalidRequestError) -> None:
        """Add the wrong fields of an error."""
        for violation in error.violations:
            self.invalid(violation.field, violation.description)

    def unsupported(self, message: str) -> None:
        """Add something that this version of the server cannot do yet."""
        self.unsupported_features.append(message)

    def precondition(self, message: str) -> None:
        """Add something that the model cannot do."""
        self.preconditions.append(message)

    def raise_any(self) -> None:
        """Raise the error for these problems, if there are any."""
        if self.violations:
            first = itertools.islice(self.violations.items(), _MOST_VIOLATIONS)
            raise InvalidRequestError([FieldViolation(*violation) for violation in first])
        if self.unsupported_features:
            raise UnsupportedError("; ".join(self.unsupported_features))
        if self.preconditions:
            raise FailedPreconditionError("; ".join(self.preconditions))
