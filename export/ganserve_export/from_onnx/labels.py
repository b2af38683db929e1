"""Convert labels int64 [N] to the form that a foreign graph takes, in numpy and as nodes. N = batch, K = labels."""

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ganserve_export.from_onnx.surgery import Surgery
from ganserve_export.from_onnx.tensor_roles import LabelInput


def encode_labels(labels: Tensor | None, target: LabelInput | None, label_count: int) -> dict[str, npt.NDArray[Any]]:
    """Return the labels by the name of the foreign input and in its form, [N, ...]; nothing if it takes none."""
    if labels is None or target is None:
        return {}
    values = labels.numpy() if target.form == "index" else np.eye(label_count)[labels.numpy()]
    if target.form == "planes":
        planes = values.reshape(-1, *target.plane_shape(label_count))
        values = np.broadcast_to(planes, (len(labels), *target.tensor.extents))
    return {target.tensor.name: values.reshape(len(labels), *target.tensor.extents).astype(target.tensor.element)}


def feed_labels(surgery: Surgery, target: LabelInput | None, label_count: int) -> None:
    """Feed the package's labels to a foreign input, if it takes any."""
    if target is None:
        return
    value = "labels"
    if target.form != "index":
        depth, values = surgery.constant([label_count], np.int64), surgery.constant([0, 1], np.float32)
        value = surgery.node("OneHot", value, depth, values)
    if target.tensor.element != ("int64" if target.form == "index" else "float32"):
        value = surgery.cast(value, target.tensor.element)
    if target.form == "planes":
        shape = surgery.constant([-1, *target.plane_shape(label_count)], np.int64)
        value = surgery.node("Reshape", value, shape)
        value = surgery.node("Expand", value, surgery.constant([1, *target.tensor.extents], np.int64))
    elif len(target.tensor.shape) != (2 if target.form == "one-hot" else 1):
        value = surgery.node("Reshape", value, surgery.constant([-1, *target.tensor.extents], np.int64))
    surgery.feed(target.tensor.name, value)
