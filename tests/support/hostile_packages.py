"""Build packages that do harm while they are loaded: endless, huge or crashing graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from tiny_packages import VECTOR, generator_graph, read_manifest, write_manifest, write_package

if TYPE_CHECKING:
    from pathlib import Path


def endless(models: Path, name: str = "endless") -> Path:
    """Write a package whose generator loops for ever."""
    graph = generator_graph(VECTOR)
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_on"], ["go_on_too"]), helper.make_node("Identity", ["state"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, ["N", VECTOR.latent_dimension]),
        ],
        [
            helper.make_tensor_value_info("go_on_too", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, ["N", VECTOR.latent_dimension]),
        ],
    )
    graph.graph.initializer.append(numpy_helper.from_array(np.array(2**62), "steps"))
    graph.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    graph.graph.node[0].input[0] = "looped"
    graph.graph.node.insert(0, helper.make_node("Loop", ["steps", "always", "latents"], ["looped"], body=body))
    return _written(models, name, graph)


def huge_when_run(models: Path, name: str = "huge") -> Path:
    """Write a package whose generator fills 64 GiB."""
    graph = generator_graph(VECTOR)
    graph.graph.initializer.append(numpy_helper.from_array(np.array([2**34]), "extent"))
    graph.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "first"))
    one = numpy_helper.from_array(np.ones(1, np.float32), "one_value")
    graph.graph.node[0].input[0] = "moved"
    graph.graph.node.insert(0, helper.make_node("ConstantOfShape", ["extent"], ["many"], value=one))
    graph.graph.node.insert(1, helper.make_node("ReduceSum", ["many"], ["total"], keepdims=0))
    graph.graph.node.insert(2, helper.make_node("Add", ["latents", "total"], ["moved"]))
    return _written(models, name, graph)


def doubling(models: Path, name: str = "doubling") -> Path:
    """Write a package whose functions each call the next one twice: two to the power of 40 nodes when it is loaded."""
    graph = generator_graph(VECTOR)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    for level in range(40):
        inner = {"op_type": f"F{level + 1}", "domain": "own"} if level < 39 else {"op_type": "Neg"}
        calls = [helper.make_node(inputs=[x], outputs=[y], **inner) for x, y in (("x", "m"), ("m", "y"))]
        graph.functions.append(helper.make_function("own", f"F{level}", ["x"], ["y"], calls, opsets))
    graph.opset_import.append(helper.make_opsetid("own", 1))
    graph.graph.node[0].input[0] = "called"
    graph.graph.node.insert(0, helper.make_node("F0", ["latents"], ["called"], domain="own"))
    return _written(models, name, graph)


def in_onnxruntimes_format(models: Path, name: str = "ort") -> Path:
    """Write a package whose generator is not ONNX but onnxruntime's own format."""
    graph = generator_graph(VECTOR)
    folder = _written(models, name, graph)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "generator.onnx")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    write_manifest(folder, read_manifest(folder))
    return folder


def of_many_dimensions(models: Path, name: str = "dimensions") -> Path:
    """Write a package with a weight of 60,000 dimensions."""
    graph = generator_graph(VECTOR)
    dims = [2**62] * 60_000
    graph.graph.initializer.append(TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=dims))
    return _written(models, name, graph)


def _written(models: Path, name: str, graph: onnx.ModelProto) -> Path:
    return write_package(models, name, 1, model=VECTOR, graphs={"generator.onnx": graph})
