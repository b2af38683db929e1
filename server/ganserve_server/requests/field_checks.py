"""Check the fields that several kinds of requests share: labels, priority, controls, tensors.

N = samples, Z = values of one latent.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ganserve.v1 import gan_service_pb2, tensor_pb2
from ganserve_server.error_text import MOST_SHOWN, and_others, counted, enum_name, listed, shown
from ganserve_server.models.manifest_checks import ModelInfo
from ganserve_server.models.model import Labels, Model
from ganserve_server.queue.lanes import Priority
from ganserve_server.requests.findings import Findings
from ganserve_server.requests.limits import Limits
from ganserve_server.requests.repeated_numbers import as_array

_DTYPES: dict[tensor_pb2.DataType.ValueType, np.dtype[Any]] = {
    tensor_pb2.DATA_TYPE_UINT8: np.dtype("<u1"),
    tensor_pb2.DATA_TYPE_FLOAT32: np.dtype("<f4"),
}
MOST_AXES = 8
"""Most extents of a tensor's shape."""
MOST_CONTROLS = 1024
"""Most controls of one request."""
_PRIORITIES: dict[int, Priority] = {
    gan_service_pb2.PRIORITY_UNSPECIFIED: Priority.NORMAL,
    gan_service_pb2.PRIORITY_HIGH: Priority.HIGH,
    gan_service_pb2.PRIORITY_NORMAL: Priority.NORMAL,
    gan_service_pb2.PRIORITY_LOW: Priority.LOW,
}


def check_labels(
    info: ModelInfo, indices: Sequence[int], names: Sequence[str], count: int, findings: Findings
) -> Labels:
    """Check labels given by index or by name.

    Returns one label for all samples, int64 [N] with one for each, or None without labels or with wrong ones.
    """
    if not indices and not names:
        return None
    field = "label_indices" if indices else "label_names"
    labels = indices or names
    if indices and names:
        findings.invalid("label_names", "cannot be combined with label_indices: give one of the two")
        return None
    if not info.label_names:
        findings.precondition(
            f"model {info.name!r} is unconditional and takes no labels (got {field} = {shown(list(labels[:3]))}): "
            "leave them out"
        )
        return None
    if len(labels) not in {1, count}:
        each = "" if count == 1 else f", or one for each of the {count} samples"
        findings.invalid(field, f"has {len(labels)} entries; expected 1{each}")
        return None
    return _label_indices(info, indices, findings) if indices else _labels_by_name(info, names, findings)


def _label_indices(info: ModelInfo, indices: Sequence[int], findings: Findings) -> Labels:
    known = len(info.label_names)
    if len(indices) == 1 and indices[0] < known:
        return indices[0]
    labels = cast("NDArray[np.int64]", as_array(indices, np.dtype(np.int64)))
    wrong = np.flatnonzero(labels >= known)
    if len(wrong):
        findings.invalid(
            "label_indices",
            f"{_entry(wrong[0], len(labels))}is {labels[wrong[0]]}{and_others(len(wrong), 'unknown')}; "
            f"model {info.name!r} has the labels 0 to {known - 1}",
        )
        return None
    return labels


def _labels_by_name(info: ModelInfo, names: Sequence[str], findings: Findings) -> Labels:
    found = [info.label_indices.get(name, -1) for name in names]
    if min(found) < 0:
        wrong = found.index(-1)
        findings.invalid(
            "label_names",
            f"{_entry(wrong, len(names))}is {shown(names[wrong])}{and_others(found.count(-1), 'unknown')}; "
            f"model {info.name!r} has the labels {listed(info.label_names, repr)}",
        )
        return None
    return found[0] if len(found) == 1 else np.array(found, np.int64)


def _entry(entry: int, entries: int) -> str:
    """Name the wrong entry, unless it is the only one."""
    return f"entry {entry} " if entries > 1 else ""


def check_priority(priority: int, findings: Findings) -> Priority:
    """Check a request's priority and return it; NORMAL if it is unset or wrong."""
    if priority not in _PRIORITIES:
        names = listed([name for name, value in gan_service_pb2.Priority.items() if value])
        findings.invalid("priority", f"is {priority}; expected one of {names}")
    return priority_of(priority)


def priority_of(priority: int) -> Priority:
    """Return a request's priority; NORMAL if it is unset or wrong."""
    return _PRIORITIES.get(priority, Priority.NORMAL)


def check_controls(info: ModelInfo, controls: Mapping[str, float], findings: Findings) -> tuple[tuple[int, float], ...]:
    """Check controls; return each one's latent index and value, ordered by name."""
    if not controls:
        return ()
    if len(controls) > MOST_CONTROLS:
        findings.invalid(
            "controls", f"has {len(controls)} entries; model {info.name!r} has {len(info.controls)} controls"
        )
        return ()
    if not info.controls:
        got = listed(sorted(controls), shown)
        findings.precondition(f"model {info.name!r} has no controls (got {got}): leave them out")
        return ()
    found = []
    for name, value in sorted(controls.items()):
        control = info.controls.get(name)
        if control is None:
            findings.invalid(
                f"controls.{name[:MOST_SHOWN]}",
                f"{shown(name)} is not a control; model {info.name!r} has the controls {listed(info.controls)}",
            )
        elif not control.low <= value <= control.high:  # NaN fails this too
            findings.invalid(f"controls.{name}", f"{name} is {value:g}; expected {control.low:g} to {control.high:g}")
        else:
            found.append((control.index, value))
    return tuple(found)


def check_answer_size(
    count: int, sample_bytes: int, limits: Limits, field: str, findings: Findings, *, instead: str = " at a time"
) -> None:
    """Check the memory held until the answer is sent: samples, latents and labels, even if they are not returned."""
    most = max(1, limits.max_response_bytes // sample_bytes)
    if count > most:
        findings.invalid(
            field,
            f"is {counted(count, 'sample')} of {sample_bytes} bytes with their latents, more than the "
            f"{limits.max_response_bytes} bytes of one answer; ask for at most {most}{instead}",
        )


def check_critic(model: Model, purpose: str, findings: Findings) -> None:
    """Check that a model has a critic, which it needs for `purpose` ("score", "select")."""
    if model.critic is None:
        reason = model.info.critic_absence or "export it with its critic"
        findings.precondition(f"{model.info} has no critic and cannot {purpose}: {reason}")


def check_tensor(
    tensor: tensor_pb2.Tensor,
    field: str,
    data_type: tensor_pb2.DataType.ValueType,
    sample_shape: tuple[int, ...],
    findings: Findings,
) -> NDArray[np.generic] | None:
    """Return a read-only view [N, *sample_shape] of a tensor of samples or latents; None if the tensor is wrong."""
    wrong_before = len(findings.violations)
    if tensor.data_type != data_type:
        findings.invalid(
            f"{field}.data_type",
            f"is {enum_name(tensor_pb2.DataType, tensor.data_type)}; expected {tensor_pb2.DataType.Name(data_type)}",
        )
    shape = tuple(tensor.shape[:MOST_AXES])
    expected = f"[N, {', '.join(map(str, sample_shape))}]"
    if len(tensor.shape) > MOST_AXES:
        findings.invalid(f"{field}.shape", f"has {len(tensor.shape)} extents; expected {expected}")
    elif shape[1:] != sample_shape:
        findings.invalid(f"{field}.shape", f"is {shown(list(shape))}; expected {expected}")
    elif shape[0] < 1:
        findings.invalid(f"{field}.shape", f"is {list(shape)}; expected {expected} with N of at least 1")
    if len(findings.violations) > wrong_before:
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
    return array if check_finite(array, f"{field}.data", findings) else None


def check_finite(array: NDArray[np.generic], field: str, findings: Findings) -> bool:
    """Check that all values of an array [N, ...] are finite, and return whether they are."""
    if array.dtype.kind != "f":
        return True
    finite = np.isfinite(array).reshape(len(array), -1).all(1)
    if finite.all():
        return True
    wrong, first = np.count_nonzero(~finite), int(np.argmin(finite))
    findings.invalid(field, f"has values that are not finite in {wrong} rows, first in row {first}")
    return False
