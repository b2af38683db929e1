"""Checks requests field by field and finds all that is wrong before anything is refused.

N = samples, Z = values of one latent.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ganserve.v1 import gan_service_pb2, tensor_pb2
from ganserve_server.errors import FailedPreconditionError, FieldViolation, InvalidRequestError, UnsupportedError
from ganserve_server.queue.lanes import Priority

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from ganserve_server.models.package import ModelInfo

_DTYPES: dict[tensor_pb2.DataType.ValueType, np.dtype[Any]] = {
    tensor_pb2.DATA_TYPE_UINT8: np.dtype("<u1"),
    tensor_pb2.DATA_TYPE_FLOAT32: np.dtype("<f4"),
}
_PRIORITIES: dict[int, Priority] = {
    gan_service_pb2.PRIORITY_UNSPECIFIED: Priority.NORMAL,
    gan_service_pb2.PRIORITY_HIGH: Priority.HIGH,
    gan_service_pb2.PRIORITY_NORMAL: Priority.NORMAL,
    gan_service_pb2.PRIORITY_LOW: Priority.LOW,
}
_MOST_SHOWN = 80


class Findings:
    """What is wrong with a request.

    An invalid field outweighs what this server cannot do, and that outweighs what the model cannot do.
    """

    def __init__(self, prefix: str = "") -> None:
        """Collect findings about the fields below `prefix`, such as "request."."""
        self._prefix = prefix
        self._violations: dict[str, str] = {}
        self._unsupported: list[str] = []
        self._preconditions: list[str] = []

    @property
    def invalid_count(self) -> int:
        """How many fields are wrong so far."""
        return len(self._violations)

    def invalid(self, field: str, description: str) -> None:
        """Note a field that is wrong: its value, what was expected, what to do. The first note of a field stays."""
        self._violations.setdefault(self._prefix + field, description)

    def unsupported(self, message: str) -> None:
        """Note something that this version of the server does not do yet."""
        self._unsupported.append(message)

    def precondition(self, message: str) -> None:
        """Note something that the model cannot do."""
        self._preconditions.append(message)

    def raise_any(self) -> None:
        """Raise what was found, if anything was.

        Raises:
            InvalidRequestError: Fields are wrong; carries all of them.
            UnsupportedError: This version of the server does not do that yet.
            FailedPreconditionError: The model cannot do that.
        """
        if self._violations:
            raise InvalidRequestError([FieldViolation(*violation) for violation in self._violations.items()])
        if self._unsupported:
            raise UnsupportedError("; ".join(self._unsupported))
        if self._preconditions:
            raise FailedPreconditionError("; ".join(self._preconditions))


def shown(value: object) -> str:
    """Return a value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}… ({len(text)} characters)"


def check_labels(
    info: ModelInfo, indices: Sequence[int], names: Sequence[str], count: int, findings: Findings
) -> int | NDArray[np.int64] | None:
    """Check a request's labels.

    Args:
        info: The model.
        indices: Labels by index.
        names: Labels by name.
        count: Samples of the request.
        findings: Takes what is wrong.

    Returns:
        One label for all, int64 [N] for each, or None if the request has none or they are wrong.
    """
    if not indices and not names:
        return None
    field = "label_indices" if indices else "label_names"
    labels = indices or names
    if indices and names:
        findings.invalid("label_names", "is given beside label_indices: give one of the two")
        return None
    if not info.label_names:
        findings.precondition(
            f"model {info.name!r} is unconditional and takes no labels (got {field} = {shown(list(labels[:3]))}): "
            "leave them out"
        )
        return None
    if len(labels) not in {1, count}:
        findings.invalid(field, f"has {len(labels)} entries; expected 1, or one for each of the {count} samples")
        return None
    return _label_indices(info, indices, findings) if indices else _labels_by_name(info, names, findings)


def _label_indices(info: ModelInfo, indices: Sequence[int], findings: Findings) -> int | NDArray[np.int64] | None:
    known = len(info.label_names)
    if len(indices) == 1 and indices[0] < known:
        return indices[0]
    labels = np.array(indices, np.int64)
    wrong = np.flatnonzero(labels >= known)
    if len(wrong):
        findings.invalid(
            "label_indices",
            f"{_which(wrong[0], len(labels))}is {labels[wrong[0]]}{_and_others(len(wrong))}; "
            f"model {info.name!r} has the labels 0 to {known - 1}",
        )
        return None
    return labels


def _which(entry: int, entries: int) -> str:
    """Names the entry that is wrong, unless there is only one."""
    return f"entry {entry} " if entries > 1 else ""


def _labels_by_name(info: ModelInfo, names: Sequence[str], findings: Findings) -> int | NDArray[np.int64] | None:
    found = [info.label_indices.get(name, -1) for name in names]
    if min(found) < 0:
        wrong = found.index(-1)
        findings.invalid(
            "label_names",
            f"{_which(wrong, len(names))}is {shown(names[wrong])}{_and_others(found.count(-1))}; "
            f"model {info.name!r} has the labels {listed(map(repr, info.label_names))}",
        )
        return None
    return found[0] if len(found) == 1 else np.array(found, np.int64)


def check_truncation(truncation: float, findings: Findings) -> None:
    """Check a truncation that was given."""
    if not (math.isfinite(truncation) and truncation > 0):
        findings.invalid(
            "truncation", f"is {truncation}; expected a finite number above 0, or none at all for no truncation"
        )


def check_priority(priority: int, findings: Findings) -> Priority:
    """Check a request's priority, and returns it; the normal one if it has none or a wrong one."""
    if priority not in _PRIORITIES:
        names = listed(name for name, value in gan_service_pb2.Priority.items() if value)
        findings.invalid("priority", f"is {priority}; expected one of {names}")
    return priority_of(priority)


def priority_of(priority: int) -> Priority:
    """Return a request's priority; the normal one if it has none or a wrong one."""
    return _PRIORITIES.get(priority, Priority.NORMAL)


def check_controls(info: ModelInfo, controls: Mapping[str, float], findings: Findings) -> tuple[tuple[int, float], ...]:
    """Check the controls that a request sets.

    Args:
        info: The model.
        controls: Values by name.
        findings: Takes what is wrong.

    Returns:
        Index within the latent and value of each, in the order of the names.
    """
    if not controls:
        return ()
    if not info.controls:
        findings.precondition(
            f"model {info.name!r} has no controls (got {listed(map(shown, sorted(controls)))}): leave them out"
        )
        return ()
    found = []
    for name, value in sorted(controls.items()):
        control = info.controls.get(name)
        if control is None:
            findings.invalid(
                f"controls.{name[:_MOST_SHOWN]}",
                f"{shown(name)} is no control; model {info.name!r} has the controls {listed(info.controls)}",
            )
        elif not control.low <= value <= control.high:  # NaN is not between, either
            findings.invalid(f"controls.{name}", f"{name} is {value:g}; expected {control.low:g} to {control.high:g}")
        else:
            found.append((control.index, value))
    return tuple(found)


def check_tensor(
    tensor: tensor_pb2.Tensor,
    field: str,
    data_type: tensor_pb2.DataType.ValueType,
    sample_shape: tuple[int, ...],
    findings: Findings,
) -> NDArray[np.generic] | None:
    """Check a tensor of samples or latents.

    Args:
        tensor: The tensor.
        field: Its path.
        data_type: Its element type, as it must be.
        sample_shape: Its shape without the batch axis, as it must be.
        findings: Takes what is wrong.

    Returns:
        The array [N, *sample_shape], read-only, in the tensor's own memory; None if it is wrong.
    """
    wrong_before = findings.invalid_count
    if tensor.data_type != data_type:
        findings.invalid(
            f"{field}.data_type",
            f"is {enum_name(tensor_pb2.DataType, tensor.data_type)}; expected {tensor_pb2.DataType.Name(data_type)}",
        )
    shape = tuple(tensor.shape)
    expected = f"[N, {', '.join(map(str, sample_shape))}]"
    if shape[1:] != sample_shape:
        findings.invalid(f"{field}.shape", f"is {shown(list(shape))}; expected {expected}")
    elif shape[0] < 1:
        findings.invalid(f"{field}.shape", f"is {list(shape)}: no sample; expected {expected} with N of at least 1")
    if findings.invalid_count > wrong_before:
        return None
    dtype = _DTYPES[data_type]
    size = math.prod(shape) * dtype.itemsize
    if len(tensor.data) != size:
        findings.invalid(
            f"{field}.data",
            f"has {len(tensor.data)} bytes; {list(shape)} of {dtype.name} has exactly {size}, row-major",
        )
        return None
    array: NDArray[np.generic] = np.frombuffer(tensor.data, dtype).reshape(shape)
    if dtype.kind == "f":
        finite = np.isfinite(array).reshape(shape[0], -1).all(1)
        if not finite.all():
            findings.invalid(
                f"{field}.data",
                f"has values that are not finite in {np.count_nonzero(~finite)} rows, "
                f"first in row {int(np.argmin(finite))}",
            )
            return None
    return array


def enum_name(enum: Any, value: int) -> str:
    """Return the name of an enum's value, or the number if it has none."""
    name: str = enum.Name(value) if value in enum.values() else str(value)
    return name


def _and_others(wrong: int) -> str:
    return f" (and {wrong - 1} others are unknown too)" if wrong > 1 else ""


def listed(names: Iterable[object], most_characters: int = 300) -> str:
    """Return names for a message, separated by commas, as many as fit; "none" of none."""
    texts = [str(name) for name in names] or ["none"]
    kept, length = 0, 0
    while kept < len(texts) and length + len(texts[kept]) + 2 <= most_characters:
        length += len(texts[kept]) + 2
        kept += 1
    more = [f"… ({len(texts)} in all)"] if kept < len(texts) else []
    return ", ".join(texts[:kept] + more)
