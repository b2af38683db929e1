"""Collect all problems of a request before it is refused."""

from __future__ import annotations

from ganserve_server.errors import FailedPreconditionError, FieldViolation, InvalidRequestError, UnsupportedError


class Findings:
    """The problems of one request.

    Invalid fields are reported first; without any, what this server cannot do; without that, what the model cannot do.
    """

    def __init__(self, prefix: str = "", shared: Findings | None = None) -> None:
        """Collect problems of the fields below `prefix`, such as "request.", on their own or in `shared`."""
        self.prefix = prefix
        self.violations: dict[str, str] = {} if shared is None else shared.violations
        self.unsupported_features: list[str] = [] if shared is None else shared.unsupported_features
        self.preconditions: list[str] = [] if shared is None else shared.preconditions

    @property
    def invalid_count(self) -> int:
        """How many fields are wrong so far."""
        return len(self.violations)

    def below(self, prefix: str) -> Findings:
        """Return findings that add to these and put `prefix` before each field."""
        return Findings(self.prefix + prefix, self)

    def invalid(self, field: str, description: str) -> None:
        """Add a wrong field: its value, what was expected, the fix. A field's first problem is the one reported."""
        self.violations.setdefault(self.prefix + field, description)

    def unsupported(self, message: str) -> None:
        """Add something that this version of the server cannot do yet."""
        self.unsupported_features.append(message)

    def precondition(self, message: str) -> None:
        """Add something that the model cannot do."""
        self.preconditions.append(message)

    def raise_any(self) -> None:
        """Raise an error if there are any problems.

        Raises:
            InvalidRequestError: Fields are wrong; the error lists all of them.
            UnsupportedError: This version of the server cannot do this yet.
            FailedPreconditionError: The model cannot do this.
        """
        if self.violations:
            raise InvalidRequestError([FieldViolation(*violation) for violation in self.violations.items()])
        if self.unsupported_features:
            raise UnsupportedError("; ".join(self.unsupported_features))
        if self.preconditions:
            raise FailedPreconditionError("; ".join(self.preconditions))
