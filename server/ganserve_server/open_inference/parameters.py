"""The parameters of a request in named tensors: values of a few types by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganserve_server.requests.validation import Findings, listed, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

Parameter = bool | int | float | str

# What stands for a tensor's way on the wire, or is answered in every case; Triton keeps its own prefix for itself.
_WITHOUT_EFFECT = frozenset({"binary_data_output"})
_RESERVED_PREFIX = "triton_"
_MOST_SHOWN = 80
_SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")


class Parameters:
    """The parameters of one request, each asked for by whoever knows it."""

    def __init__(self, given: Mapping[str, Parameter], findings: Findings) -> None:
        self.findings = _Below(findings, "parameters.")
        """Takes what is wrong with a parameter, by its name."""
        self._given = given
        self._known: list[str] = []

    def given(self, name: str) -> bool:
        """Tells whether the request has it."""
        return name in self._given

    def integer(self, name: str, least: int, most: int) -> int | None:
        """Return an integer; None if it is not given or wrong."""
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
        """Return a number; None if it is not given or wrong."""
        self._known.append(name)
        return self._number(name) if name in self._given else None

    def numbers(self, prefix: str) -> dict[str, float]:
        """Return the numbers whose names begin with a prefix, by the rest of their names."""
        names = [name for name in self._given if name.startswith(prefix)]
        self._known += [*names, f"{prefix}NAME"]
        values = {name.removeprefix(prefix): self._number(name) for name in names}
        return {name: value for name, value in values.items() if value is not None}

    def refuse_others(self, graph: str) -> None:
        """Note what nobody asked for: a misspelt parameter must not pass for one that was obeyed."""
        for name, value in self._given.items():
            if name in self._known or name in _WITHOUT_EFFECT or name.startswith(_RESERVED_PREFIX):
                continue
            if name not in _SEQUENCE:
                self._refuse(name, f"{shown(name)} is no parameter of {graph!r}, which has: {listed(self._known)}")
            elif value not in (0, "", False):
                self._refuse(name, f"is {shown(value)}; GANs have no sequences: leave it out")

    def _number(self, name: str) -> float | None:
        value = self._given[name]
        if isinstance(value, (bool, str)):
            self._refuse(name, f"is {shown(value)}; expected a number")
            return None
        return float(value)

    def _refuse(self, name: str, description: str) -> None:
        self.findings.invalid(name[:_MOST_SHOWN], description)


class _Below(Findings):
    """Findings about the fields below a prefix, which are others' too."""

    def __init__(self, findings: Findings, prefix: str) -> None:
        super().__init__()
        self._findings = findings
        self._below = prefix

    def invalid(self, field: str, description: str) -> None:
        self._findings.invalid(self._below + field, description)

    def precondition(self, message: str) -> None:
        self._findings.precondition(message)
