"""Find the operation that makes a graph's output, behind operations that only move its values, and behind branches."""

from dataclasses import dataclass

import onnx

from ganserve_export.from_onnx.graph_renaming import graphs_within

MOVING = {"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"}
"""With one value per sample, these change neither the values nor their order; of images, only their places."""
_MOST_STEPS = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """An operation, and the value that it was applied to."""

    name: str
    input: str
    """Empty: it has no input."""
    in_main_graph: bool
    """True if the input can be made an output of the graph."""


def last_operation(model: onnx.ModelProto, output: str) -> Operation | None:
    """Return the operation that makes an output; None: it is an input or a constant, or depends on a branch."""
    return _last([model.graph], output)


def _last(graphs: list[onnx.GraphProto], value: str) -> Operation | None:
    """Look from the innermost of nested graphs outwards."""
    for _ in range(_MOST_STEPS):
        found = next(
            (
                (depth, node)
                for depth in reversed(range(len(graphs)))
                for node in graphs[depth].node
                if value in node.output
            ),
            None,
        )
        if found is None:
            return None
        depth, node = found
        graphs = graphs[: depth + 1]
        if node.domain not in ("", "ai.onnx"):
            return Operation(name=f"{node.domain}::{node.op_type}", input="", in_main_graph=False)
        if node.op_type in MOVING:
            value = node.input[0]
        elif node.op_type == "If":
            place = list(node.output).index(value)
            ends = {_last([*graphs, branch], branch.output[place].name) for branch in graphs_within(node)}
            return ends.pop() if len(ends) == 1 else None
        else:
            return Operation(
                name=node.op_type, input=node.input[0] if node.input else "", in_main_graph=len(graphs) == 1
            )
    return None
