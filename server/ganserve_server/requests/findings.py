"""Collect all problems of a request before it is refused."""

from __future__ import annotations

from dataclasses import dataclass, field

from ganserve_server.errors import FailedPreconditionError, FieldViolation, InvalidRequestError, UnsupportedError


@dataclass(kw_only=True, slots=True)
class _Problems:
    violations: dict[str, str] = field(default_factory=dict)
    unsupported: list[str] = field(default_factory=list)
    preconditions: list[str] = field(default_factory=list)


class Findings:
    """The problems of one request.

    Invalid fields are reported first; without any, what this server cannot do; without that, what the model cannot do.
    """

    def __init__(self, prefix: str = "", problems: _Problems | None = None) -> None:
        """Collect problems of the fields below `prefix`, such as "request."."""
        self._prefix = prefix
        self._problems = problems or _Problems()

    @property
    def invalid_count(self) -> int:
        """How many fields are wrong so far."""
        return len(self._problems.violations)

    def below(self, prefix: str) -> Findings:
        """Return findings that add to these and put `prefix` before each field."""
        return Findings(self._prefix + prefix, self._problems)

    def invalid(self, path: str, description: str) -> None:
        """Add a wrong field: its value, what was expected, the fix. A field's first problem is the one reported."""
        self._problems.violations.setdefault(self._prefix + path, description)

    def unsupported(self, message: str) -> None:
        """Add something that this version of the server cannot do yet."""
        self._problems.unsupported.append(message)

    def precondition(self, message: str) -> None:
        """Add something that the model cannot do."""
        self._problems.preconditions.append(message)

    def raise_any(self) -> None:
        """Raise an error if there are any problems.

        Raises:
            InvalidRequestError: Fields are wrong; the error lists all of them.
            UnsupportedError: This version of the server cannot do this yet.
            FailedPreconditionError: The model cannot do this.
        """
        problems = self._problems
        if problems.violations:
            raise InvalidRequestError([FieldViolation(*violation) for violation in problems.violations.items()])
        if problems.unsupported:
            raise UnsupportedError("; ".join(problems.unsupported))
        if problems.preconditions:
            raise FailedPreconditionError("; ".join(problems.preconditions))
