"""Compare CPU engines, and two forms of transposed convolutions, on g32: one thread, CPU time, by turns.

    python benchmarks/serving/cpu_engines.py [--batch 64] [--rounds 20]

`split` is each transposed convolution as four 2x2 convolutions and DepthToSpace. Needs the extra openvino.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from packages import write_generator_package

from ganserve_server.engine.openvino_graph import split_transposed_convolutions
from ganserve_server.engine.openvino_library import core, read_model

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[[dict[str, np.ndarray]], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        content = (write_generator_package(Path(folder), "g32") / "generator.onnx").read_bytes()
    ways = {
        "onnxruntime": by_onnxruntime(content),
        "onnxruntime, split": by_onnxruntime(split(content)),
        "OpenVINO float32": by_openvino(content, "f32", splits=False),
        "OpenVINO float32, split": by_openvino(content, "f32", splits=True),
        "OpenVINO bfloat16": by_openvino(content, "bf16", splits=False),
        "OpenVINO bfloat16, split": by_openvino(content, "bf16", splits=True),
    }
    latents = np.random.default_rng(0).standard_normal((arguments.batch, 64)).astype(np.float32)
    feed = {"latents": latents, "labels": np.arange(arguments.batch) % 10}
    wanted = ways["onnxruntime"](feed).astype(int)
    times = defaultdict(list)
    for _ in range(arguments.rounds):
        for name, run in ways.items():
            start = time.process_time()
            run(feed)
            times[name].append(time.process_time() - start)
    sys.stdout.write("| engine | CPU ms | of onnxruntime | most levels apart | values apart |\n|---|---|---|---|---|\n")
    for name, run in ways.items():
        apart = np.abs(run(feed).astype(int) - wanted)
        ratio = statistics.median(a / b for a, b in zip(times[name], times["onnxruntime"], strict=True))
        middle = statistics.median(times[name]) * 1e3
        sys.stdout.write(f"| {name} | {middle:.1f} | {ratio:.2f} | {apart.max()} | {(apart > 0).mean():.3%} |\n")


def by_onnxruntime(content: bytes) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda feed: session.run(["samples"], feed)[0]


def by_openvino(content: bytes, precision: str, *, splits: bool) -> Run:
    model = read_model(content)
    if splits:
        split_transposed_convolutions(model)
    properties = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    request = core().compile_model(model, "CPU", properties).create_infer_request()
    return lambda feed: request.infer(feed)[0]


def split(content: bytes) -> bytes:
    """Return the graph with its transposed convolutions, of kernel 4, stride 2 and padding 1, split."""
    model = onnx.load_from_string(content)
    weights = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type != "ConvTranspose":
            nodes.append(node)
            continue
        parts = []
        for row in (0, 1):
            for column in (0, 1):
                taps = [([3, 1], [2, 0])[axis] for axis in (row, column)]
                kernel = weights[node.input[1]][:, :, taps[0]][:, :, :, taps[1]].swapaxes(0, 1)
                part = f"{node.output[0]}_{row}{column}"
                model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(kernel), f"{part}_weights"))
                pads = [1 - row, 1 - column, row, column]
                nodes.append(helper.make_node("Conv", [node.input[0], f"{part}_weights"], [part], pads=pads))
                parts.append(part)
        joined = f"{node.output[0]}_joined"
        nodes.append(helper.make_node("Concat", parts, [joined], axis=1))
        nodes.append(helper.make_node("DepthToSpace", [joined], [node.output[0]], blocksize=2, mode="DCR"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString()


if __name__ == "__main__":
    main()
