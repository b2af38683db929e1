"""Write grouped convolutions with fewer, larger groups, whose blocks beside the diagonal are zero.

The products are the same, and the added ones are zero. On a GPU small groups leave the tensor cores idle.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper


def merge_groups(content: bytes, channels: int) -> bytes:
    """Return a graph whose grouped convolutions have groups of at least `channels` input channels, where possible.

    A number of channels that is not a multiple keeps the largest groups that divide it. Without grouped convolutions
    the graph stays as it is.
    """
    model = onnx.load_from_string(content)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        group = next((attribute for attribute in node.attribute if attribute.name == "group"), None)
        if node.op_type != "Conv" or group is None or group.i == 1 or node.input[1] not in weights:
            continue
        stored = weights[node.input[1]]
        kernel = numpy_helper.to_array(stored)  # [O, I / groups, ...]
        merged = _merged(kernel.shape[1], group.i, channels)
        dense = _block_diagonal(kernel, group.i, merged)
        stored.CopyFrom(numpy_helper.from_array(dense, stored.name))
        group.i //= merged
    return model.SerializeToString()


def _merged(width: int, groups: int, channels: int) -> int:
    """Return how many groups of `width` channels become one: the fewest that suffice, or all."""
    return next((many for many in range(1, groups + 1) if groups % many == 0 and many * width >= channels), groups)


def _block_diagonal(kernel: np.ndarray, groups: int, merged: int) -> np.ndarray:
    outputs, width = kernel.shape[0] // groups, kernel.shape[1]
    dense = np.zeros((kernel.shape[0], width * merged, *kernel.shape[2:]), kernel.dtype)
    for group in range(groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        start = group % merged * width
        dense[rows, start : start + width] = kernel[rows]
    return dense
