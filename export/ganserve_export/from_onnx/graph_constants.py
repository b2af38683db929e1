"""Give inputs of a foreign graph constant values: `--constant NAME=VALUE`."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ganserve_export.errors import BadUsageError

_WORDS = {"true": 1.0, "false": 0.0}


def read_constants(given: Sequence[str]) -> dict[str, str]:
    """Return the values by the names of inputs, from NAME=VALUE each.

    Raises:
        BadUsageError: One is not NAME=VALUE, its value is not made of numbers, or a name occurs twice.
    """
    constants: dict[str, str] = {}
    for text in given:
        name, mark, value = text.rpartition("=")
        if not mark or not name or _numbers(value) is None:
            raise BadUsageError(
                f"--constant {text}: expected NAME=VALUE, such as truncation=0.7, train=false or c=0,0,1"
            )
        if name in constants:
            raise BadUsageError(f"--constant {text}: {name} is set twice. Give each constant once")
        constants[name] = value
    return constants


def set_constants(model: onnx.ModelProto, constants: Mapping[str, str]) -> tuple[str, ...]:
    """Replace inputs of a model by constants and return their names; names that it does not have are left alone.

    Raises:
        BadUsageError: A value does not fit its input's shape.
    """
    replaced = []
    for name, text in constants.items():
        place = next((at for at, item in enumerate(model.graph.input) if item.name == name), None)
        if place is None:
            continue
        declared = model.graph.input[place].type.tensor_type
        shape = [dim.dim_value if dim.HasField("dim_value") else 1 for dim in declared.shape.dim]
        values = np.array(_numbers(text), np.float64)
        if values.size not in (1, int(np.prod(shape))):
            raise BadUsageError(
                f"--constant {name}={text}: has {values.size} values, and the input has the shape {shape}. Give one "
                f"value, or {int(np.prod(shape))}"
            )
        filled = np.broadcast_to(values.reshape(()), shape) if values.size == 1 else values.reshape(shape)
        dtype = helper.tensor_dtype_to_np_dtype(declared.elem_type)
        model.graph.initializer.append(numpy_helper.from_array(filled.astype(dtype), name))
        del model.graph.input[place]
        replaced.append(name)
    return tuple(replaced)


def _numbers(text: str) -> list[float] | None:
    try:
        return [_WORDS[word.strip()] if word.strip() in _WORDS else float(word) for word in text.split(",")]
    except ValueError:
        return None
