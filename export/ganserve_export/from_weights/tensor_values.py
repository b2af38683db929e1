"""Tensors and arrays of a pickle, checked before anything is allocated. They are copied on request."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganserve_export.from_weights.pickle_machine import Known, RefusedPickleError

STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_NUMBERS = "fiub"  # floating-point, signed, unsigned, Boolean
_MAX_DIMENSIONS = 8
_MAX_NUMBER = 2**40


@dataclass(slots=True)
class Storage:
    """The values of one or more tensors in a row."""

    dtype: torch.dtype
    count: int
    read: Callable[[], bytes | memoryview]
    """Returns their bytes, which may come later in the file."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor whose values are still in the file."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def tensor(self) -> Tensor:
        """Return a copy of the values."""
        values = self.storage.read()
        width = self.storage.dtype.itemsize
        if len(values) < self.storage.count * width:
            raise RefusedPickleError("it is cut off: values of a tensor are missing")
        if not math.prod(self.size):
            return torch.empty(self.size, dtype=self.storage.dtype)
        extent = 1 + sum((length - 1) * step for length, step in zip(self.size, self.stride, strict=True))
        raw = torch.from_numpy(np.frombuffer(values, np.uint8, extent * width, self.offset * width).copy())
        return raw.view(self.storage.dtype).as_strided(self.size, self.stride).contiguous()


def rebuilt_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> StoredTensor:
    """Describe a tensor, as torch._utils._rebuild_tensor_v2 makes it; raise RefusedPickleError if it can't exist."""
    numbers = (offset, *(size if isinstance(size, tuple) else ()), *(stride if isinstance(stride, tuple) else ()))
    if (
        not isinstance(storage, Storage)
        or not (isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= _MAX_DIMENSIONS)
        or not all(isinstance(number, int) and 0 <= number < _MAX_NUMBER for number in numbers)
    ):
        raise RefusedPickleError("its pickle describes a tensor that can't exist")
    count = math.prod(size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if count and (last >= storage.count or count > storage.count):
        raise RefusedPickleError(f"its pickle describes a tensor {list(size)} of {storage.count:,} stored values")
    return StoredTensor(storage, offset, size, stride)


def rebuilt_parameter(tensor: Any, *_: Any) -> Any:
    """Return the tensor of a parameter."""
    return tensor


@dataclass(slots=True)
class ArrayType:
    """A NumPy dtype, which a pickle makes in two steps."""

    name: str
    is_big_endian: bool = False

    def build(self, state: Any) -> None:
        """Take the byte order."""
        self.is_big_endian = state[1] == ">"

    def dtype(self) -> np.dtype[Any]:
        """Return the dtype; raise RefusedPickleError for anything but numbers."""
        if self.name[:1] not in _NUMBERS or not self.name[1:].isdecimal():
            raise RefusedPickleError(f"its pickle has a NumPy array of the type {self.name!r}, not numbers")
        return np.dtype(self.name).newbyteorder(">" if self.is_big_endian else "<")


@dataclass(slots=True)
class Array:
    """A NumPy array, which a pickle makes in two steps."""

    state: tuple[Any, ...] = field(default=())

    def build(self, state: Any) -> None:
        """Take version, shape, dtype, order and bytes."""
        if not (isinstance(state, tuple) and len(state) == 5 and isinstance(state[2], ArrayType)):
            raise RefusedPickleError("its pickle has a NumPy array that is not a plain array of numbers")
        self.state = state

    def tensor(self) -> Tensor:
        """Return a copy of the values."""
        if not self.state:
            raise RefusedPickleError("its pickle has a NumPy array without values")
        _, shape, kind, is_fortran, data = self.state
        raw = data.encode("latin-1") if isinstance(data, str) else data
        values = np.frombuffer(raw, kind.dtype())
        if not isinstance(shape, tuple) or len(shape) > _MAX_DIMENSIONS or math.prod(shape) != values.size:
            raise RefusedPickleError(f"its pickle has a NumPy array {shape} of {values.size:,} values")
        ordered = values.reshape(shape, order="F" if is_fortran else "C")
        return torch.from_numpy(ordered.astype(ordered.dtype.newbyteorder("="), order="C"))


def _number(kind: Any, data: Any = b"") -> float | int:
    """Return a NumPy scalar as a plain number."""
    if not isinstance(kind, ArrayType):
        raise RefusedPickleError("its pickle has a NumPy value that is not a number")
    raw = data.encode("latin-1") if isinstance(data, str) else data
    number: float | int = np.frombuffer(raw, kind.dtype(), 1)[0].item()
    return number


def _array_of_buffer(data: Any, kind: Any, shape: Any, order: Any) -> Array:
    """Return an array as protocol 5 writes it."""
    array = Array()
    array.build((1, shape, kind, order == "F", data))
    return array


def array_names() -> dict[str, Known]:
    """Return replacements of NumPy's names, of all its versions."""
    names = {
        "numpy.ndarray": Known("numpy.ndarray"),
        "numpy.dtype": Known("numpy.dtype", lambda name, *_: ArrayType(str(name))),
    }
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray._reconstruct"] = Known("numpy.ndarray", lambda *_: Array())
        names[f"{core}.multiarray.scalar"] = Known("numpy scalar", _number)
        names[f"{core}.numeric._frombuffer"] = Known("numpy.ndarray", _array_of_buffer)
    return names


def tensor_names() -> dict[str, Known]:
    """Return replacements of the names of tensors in a pickle of torch."""
    names = {
        "torch._utils._rebuild_tensor_v2": Known("tensor", rebuilt_tensor),
        "torch._utils._rebuild_tensor": Known("tensor", rebuilt_tensor),
        "torch._utils._rebuild_parameter": Known("parameter", rebuilt_parameter),
        "torch.nn.parameter.Parameter": Known("parameter", rebuilt_parameter),
        "torch.Size": Known("torch.Size", tuple),
        "torch.device": Known("torch.device", lambda *_: None),
    }
    names |= {f"torch.{dtype}": Known(str(dtype)) for dtype in ("float16", "bfloat16", "float32", "float64")}
    return names | storage_names()


def storage_names() -> dict[str, Known]:
    """Return replacements of the types of storages."""
    return {f"torch.{name}": Known(name) for name in STORAGES}
