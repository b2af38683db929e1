"""Convert between NumPy arrays and tensor messages."""

# N = samples, H = height, W = width, C = channels, D = values of a vector, Z = latent, L = layers, W = values of one w

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ganserve._errors import InvalidRequest, ServerError
from ganserve.v1 import tensor_pb2

_DTYPES: dict[int, np.dtype[Any]] = {
    tensor_pb2.DATA_TYPE_UINT8: np.dtype("u1"),
    tensor_pb2.DATA_TYPE_FLOAT32: np.dtype("<f4"),
}
_DATA_TYPES = {dtype: data_type for data_type, dtype in _DTYPES.items()}


def as_array(value: Any) -> npt.NDArray[Any]:
    """Return an array of what a caller gave, or raise ValueError; PyTorch tensors may be on a GPU or have gradients."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):  # a PyTorch tensor; PyTorch may not be installed
        value = value.detach().cpu()
    try:
        array: npt.NDArray[Any] = np.asarray(value)
    except (TypeError, RuntimeError) as error:  # such as a tensor of bfloat16, which NumPy does not have
        raise ValueError(str(error)) from error
    return array


def to_tensor(array: npt.NDArray[Any]) -> tensor_pb2.Tensor:
    """Return a tensor message of a uint8 or float32 array of any shape."""
    little_endian = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return tensor_pb2.Tensor(
        data_type=_DATA_TYPES[little_endian.dtype],  # type: ignore[arg-type]  # the stub wants the enum's NewType
        shape=array.shape,
        data=little_endian.tobytes(),
    )


def from_tensor(tensor: tensor_pb2.Tensor, what: str) -> npt.NDArray[Any]:
    """Return the array of a tensor message, writable; `what` is its name in errors."""
    dtype = _DTYPES.get(tensor.data_type)
    if dtype is None:
        raise ServerError(f"the answer's {what} have data type {tensor.data_type}, which this ganserve does not know")
    shape, data = tuple(tensor.shape), tensor.data
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise ServerError(f"the answer's {what} are {len(data)} bytes, which is not {dtype} {list(shape)}")
    # Copy: an array over `bytes` is read-only, which torch.from_numpy and others complain about.
    return np.ndarray(shape, dtype, data).copy()


def w_array(w: npt.ArrayLike, count: int) -> npt.NDArray[np.float32]:
    """Return w's for a request, float32 [N, L, W], of real numbers [count, L, W], all finite."""
    return _given_array("w", w, count, "[n, layers, w_dimension]")


def latents_array(latents: npt.ArrayLike, count: int) -> npt.NDArray[np.float32]:
    """Return latents for a request, float32 [N, Z], of real numbers [count, Z], all finite."""
    return _given_array("latents", latents, count, "[n, latent_dim]")


def _given_array(name: str, values: npt.ArrayLike, count: int, shape: str) -> npt.NDArray[np.float32]:
    try:
        given = as_array(values)
    except ValueError as error:  # such as rows of different lengths
        raise InvalidRequest.of(name, f"is not an array; expected {shape} ({error})") from error
    if given.dtype.kind not in "fiu":
        raise InvalidRequest.of(name, f"is {given.dtype}; expected real numbers, float32 {shape}")
    if given.ndim != shape.count(",") + 1 or not given.size:
        raise InvalidRequest.of(name, f"has the shape {list(given.shape)}; expected {shape}")
    if len(given) != count:
        raise InvalidRequest.of(
            name, f"has {len(given)} row{'' if len(given) == 1 else 's'} and n is {count}; expected one row a sample"
        )
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which the next line refuses
        converted = given.astype(np.float32)
    if not np.isfinite(converted).all():
        raise InvalidRequest.of(name, "has NaN or infinity; expected values that are finite in float32")
    return converted
