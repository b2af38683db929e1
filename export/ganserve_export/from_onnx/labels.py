"""Labels int64 [N] as foreign graphs take them, in numpy and as nodes. N = batch, K = labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from ganserve_export.from_onnx.surgery import Surgery
    from ganserve_export.from_onnx.tensor_roles import LabelPort


def encode_labels(labels: npt.NDArray[np.int64], port: LabelPort, label_count: int) -> npt.NDArray[Any]:
    """The array that a foreign input takes, [N, ...]."""
    values = np.eye(label_count)[labels] if port.form == "one-hot" else labels
    return values.reshape(len(labels), *port.port.extents).astype(port.port.element)


def feed_labels(surgery: Surgery, port: LabelPort, label_count: int) -> None:
    """Feed a foreign input with the package's labels."""
    value = "labels"
    if port.form == "one-hot":
        depth, values = surgery.constant([label_count], np.int64), surgery.constant([0, 1], np.float32)
        value = surgery.node("OneHot", value, depth, values)
    if port.port.element != ("float32" if port.form == "one-hot" else "int64"):
        value = surgery.cast(value, port.port.element)
    if len(port.port.shape) != (2 if port.form == "one-hot" else 1):
        value = surgery.node("Reshape", value, surgery.constant([-1, *port.port.extents], np.int64))
    surgery.feed(port.port.name, value)
