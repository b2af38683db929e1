"""Read and check the parameters of a request in named tensors: booleans, numbers and strings by name."""

from collections.abc import Collection, Mapping

from ganserve_server.error_text import MOST_SHOWN, listed, shown
from ganserve_server.requests.findings import Findings

Parameter = bool | int | float | str

# Clients send this one to choose how tensors travel, which is always binary here. Triton reserves the prefix.
_WITHOUT_EFFECT = frozenset({"binary_data_output"})
_RESERVED_PREFIX = "triton_"
_SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")


class Parameters:
    """The parameters of one request. Reading one marks it as known."""

    def __init__(self, given: Mapping[str, Parameter], findings: Findings) -> None:
        self.findings = findings.below("parameters.")
        """Collects the problems of parameters, by name."""
        self._given = given
        self._known: list[str] = []
        self._prefixes: list[str] = []

    def given(self, name: str) -> bool:
        """Return True if the request has this parameter."""
        return name in self._given

    def integer(self, name: str, least: int, most: int) -> int | None:
        """Return an integer; None if it is missing or wrong."""
        self._known.append(name)
        value = self._given.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self._refuse(name, f"is {shown(value)}; expected an integer")
        elif not least <= value <= most:
            self._refuse(name, f"is {value}; expected {least} to {most}")
        else:
            return value
        return None

    def number(self, name: str) -> float | None:
        """Return a number; None if it is missing or wrong."""
        self._known.append(name)
        return self._number(name) if name in self._given else None

    def choice(self, name: str, choices: Collection[str]) -> str | None:
        """Return one of the choices; None if it is missing or wrong."""
        self._known.append(name)
        value = self._given.get(name)
        if value is None or (isinstance(value, str) and value in choices):
            return value
        self._refuse(name, f"is {shown(value)}; expected {listed(choices)}")
        return None

    def numbers(self, prefix: str) -> dict[str, float]:
        """Return the numbers whose names begin with a prefix; the keys are the rest of the names."""
        names = [name for name in self._given if name.startswith(prefix)]
        self._known.append(f"{prefix}NAME")
        self._prefixes.append(prefix)
        values = {name.removeprefix(prefix): self._number(name) for name in names}
        return {name: value for name, value in values.items() if value is not None}

    def refuse_others(self, graph: str) -> None:
        """Refuse unknown parameters, so that a misspelt one is not silently ignored."""
        prefixes = (_RESERVED_PREFIX, *self._prefixes)
        for name, value in self._given.items():
            if name in self._known or name in _WITHOUT_EFFECT or name.startswith(prefixes):
                continue
            if name not in _SEQUENCE:
                self._refuse(name, f"{shown(name)} is not a parameter of {graph!r}, which has: {listed(self._known)}")
            elif value not in (0, "", False):
                self._refuse(name, f"is {shown(value)}; GANs have no sequences: leave it out")

    def _number(self, name: str) -> float | None:
        value = self._given[name]
        if isinstance(value, (bool, str)):
            self._refuse(name, f"is {shown(value)}; expected a number")
            return None
        return float(value)

    def _refuse(self, name: str, description: str) -> None:
        self.findings.invalid(name[:MOST_SHOWN], description)
