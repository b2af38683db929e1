"""Write small ONNX files like other tools', which numpy can compute. N = batch, Z = latent, K = labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Z = 6
FLOAT, FLOAT16, INT32, INT64, UINT8 = (
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.UINT8,
)
Ports = dict[str, tuple[int, "list[Any] | None"]]


def save(
    file: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Ports,
    outputs: Ports,
    constants: Mapping[str, Any] | None = None,
    *,
    opset: int = 17,
    ir_version: int = 8,
    constants_as_inputs: bool = False,
    domains: Sequence[str] = (),
) -> Path:
    """Write a graph; ports are name -> (element type, shape)."""
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    infos = [helper.make_tensor_value_info(name, *form) for name, form in inputs.items()]
    if constants_as_inputs:
        infos += [helper.make_tensor_value_info(each.name, each.data_type, each.dims) for each in tensors]
    graph = helper.make_graph(
        nodes, "made elsewhere", infos, [helper.make_tensor_value_info(name, *form) for name, form in outputs.items()],
        tensors,
    )  # fmt: skip
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    onnx.save_model(helper.make_model(graph, opset_imports=imports, ir_version=ir_version), file)
    return file


def node(operation: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    """Return a node; inputs are separated by spaces."""
    return helper.make_node(operation, inputs.split(), [output], **attributes)


def weight(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((rows, columns)) * 0.5).astype(np.float32)


def flat_generator(
    file: Path,
    tail: Sequence[onnx.NodeProto],
    output: tuple[int, list[Any] | None],
    *,
    values: int = 48,
    **options: Any,
) -> Path:
    """`z` [N, Z] -> one matrix product -> `flat` [N, values] -> the tail, which ends in `img`."""
    constants = {"w": weight(Z, values), **options.pop("constants", {})}
    inputs = options.pop("inputs", {"z": (FLOAT, ["n", Z])})
    return save(file, [node("MatMul", "z w", "flat"), *tail], inputs, {"img": output}, constants, **options)


def tanh_nchw(file: Path, shape: tuple[int, int, int] = (3, 4, 4), **options: Any) -> Path:
    """Write a plain generator of images in [-1, 1], [N, C, H, W]."""
    tail = [node("Tanh", "flat", "t"), node("Reshape", "t shape", "img")]
    constants = {"shape": np.array([-1, *shape]), **options.pop("constants", {})}
    return flat_generator(
        file, tail, (FLOAT, ["n", *shape]), values=int(np.prod(shape)), constants=constants, **options
    )


def tanh_nchw_values(latents: np.ndarray, shape: tuple[int, int, int] = (3, 4, 4)) -> np.ndarray:
    return np.tanh(latents @ weight(Z, int(np.prod(shape)))).reshape(-1, *shape)


def flat_critic(
    file: Path, shape: Sequence[Any] = (3, 4, 4), *, sigmoid: bool = False, element: int = FLOAT, **options: Any
) -> Path:
    """`x` [N, *shape] -> `logit` [N, 1], or `p` by a sigmoid."""
    size = options.pop("size", None) or int(np.prod(shape))
    nodes = [node("Reshape", "x flat", "f"), node("MatMul", "f w", "p0" if sigmoid else "logit")]
    if sigmoid:
        nodes.append(node("Sigmoid", "p0", "p"))
    constants = {"flat": np.array([-1, size]), "w": weight(size, 1, seed=1)}
    outputs: Ports = {"p" if sigmoid else "logit": (FLOAT, ["n", 1])}
    return save(file, nodes, {"x": (element, ["n", *shape])}, outputs, constants, **options)


class Dcgan(nn.Module):
    """The generator of PyTorch's DCGAN tutorial: latents [N, Z, 1, 1], transposed convolutions, batch norm, tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(Z, 8, 4, 1, 0, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(True),
            nn.ConvTranspose2d(8, 3, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.main(z)


class DcganCritic(nn.Module):
    """The critic of that tutorial: a sigmoid, [N, 1, 1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(3, 8, 4, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(8, 1, 4, 1, 0, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, img: Tensor) -> Tensor:
        return self.main(img)


class OneHot(nn.Module):
    """A conditional generator of gray images, which takes labels as one-hot vectors."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.main = nn.Sequential(nn.Linear(Z + labels, 16), nn.ReLU(), nn.Linear(16, 64), nn.Tanh())

    def forward(self, noise: Tensor, condition: Tensor) -> Tensor:
        return self.main(torch.cat([noise, condition], dim=1)).view(-1, 1, 8, 8)


def export(module: nn.Module, file: Path, *inputs: Tensor, **options: Any) -> Path:
    """Call torch.onnx.export, by default with a dynamic batch."""
    options.setdefault("dynamic_shapes", tuple({0: torch.export.Dim("batch", min=1)} for _ in inputs))
    torch.onnx.export(module, inputs, file, dynamo=True, verbose=False, **options)
    return file
