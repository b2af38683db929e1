"""Turn labels into the label fields of requests."""

# N = samples of the request

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ganserve._argument_checks import check_text
from ganserve._errors import InvalidRequest
from ganserve._types import Labels

_EXPECTED = "expected a label's name (str) or index (int), or a sequence of one kind with one a sample"


@dataclass(frozen=True, slots=True)
class LabelFields:
    """The label fields of a request: names or indices, never both; one for all samples or one a sample."""

    indices: tuple[int, ...] = ()
    names: tuple[str, ...] = ()

    def per_sample(self, count: int) -> tuple[str | int, ...] | None:
        """Return the label of each of `count` samples, as given, or None without labels."""
        given: tuple[str | int, ...] = self.names or self.indices
        if not given:
            return None
        return given if len(given) == count else given * count


def label_fields(label: Labels | None, count: int) -> LabelFields:
    """Check labels, as `Client.sample` takes them for `count` samples, and return a request's fields."""
    if label is None:
        return LabelFields()
    if isinstance(label, np.ndarray):
        if label.ndim > 1:
            raise InvalidRequest.of(
                "label", f"has the shape {list(label.shape)}; expected one axis, one label a sample"
            )
        label = label.tolist()
    if isinstance(label, str | int | np.integer):
        return _fields([label], "label")
    if not isinstance(label, Sequence) or isinstance(label, bytes | bytearray):
        raise InvalidRequest.of("label", f"is {label!r}; {_EXPECTED}")
    if len(label) != count:
        each = "" if count == 1 else f" for all, or one for each of the {count} samples"
        raise InvalidRequest.of("label", f"has {len(label)} entries; expected one label{each}")
    fields = _fields(label, "label[{}]")
    # Send equal labels once: a smaller message for the same samples.
    return LabelFields(indices=_collapse(fields.indices), names=_collapse(fields.names))


def _fields(labels: Sequence[Any], where: str) -> LabelFields:
    indices: list[int] = []
    names: list[str] = []
    for position, label in enumerate(labels):
        if isinstance(label, str):
            if not label:
                raise InvalidRequest.of(where.format(position), "is an empty name; expected a label's name")
            names.append(check_text(where.format(position), str(label)))
        elif isinstance(label, int | np.integer) and not isinstance(label, bool):
            if not 0 <= label < 2**32:
                raise InvalidRequest.of(where.format(position), f"is {label}; expected a label's index, 0 or above")
            indices.append(int(label))
        else:
            raise InvalidRequest.of(where.format(position), f"is {label!r}; {_EXPECTED}")
    if indices and names:
        raise InvalidRequest.of("label", "has names and indices; expected one kind")
    return LabelFields(indices=tuple(indices), names=tuple(names))


def _collapse(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return values[:1] if values and all(value == values[0] for value in values) else values
