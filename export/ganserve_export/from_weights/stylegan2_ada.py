"""Read StyleGAN2 weights from network pickles of stylegan2-ada-pytorch and stylegan3."""

from typing import Any

from torch import Tensor

from ganserve_export.errors import ExportError
from ganserve_export.from_weights.records import Record, is_module, tensors_of_module
from ganserve_export.from_weights.stylegan2_weights import Stylegan2Weights, Tensors, is_low_pass_filter

ORIGIN = "stylegan2-ada-pytorch or stylegan3"


def is_network_pickle(content: Any) -> bool:
    """Say whether a file holds a generator as a module of persistence."""
    return isinstance(content, dict) and (is_module(content.get("G_ema")) or is_module(content.get("G")))


def read_network_pickle(content: dict[str, Any], *, with_critic: bool, with_trained: bool = False) -> Stylegan2Weights:
    """Return the weights in a network pickle, without buffers that our networks make themselves.

    Raises:
        ExportError: Its networks compute something that ours can't; the message says what.
    """
    averaged = content["G_ema"] if is_module(content.get("G_ema")) else content["G"]
    blocks = _blocks(averaged.state["_modules"].get("synthesis"), "generator")
    for name, block in blocks.items():
        _expect(block, name, "architecture", {"skip"})
    clamp = _clamp(blocks, "generator", "conv1")
    critic: Tensors | None = None
    group = 4
    if with_critic:
        if not is_module(content.get("D")):
            raise ExportError("holds no critic (D). Add --generator-only")
        parts = _blocks(content["D"], "critic")
        for name, block in parts.items():
            _expect(block, f"critic's {name}", "architecture", {"resnet", "orig"})
        if _clamp(parts, "critic", "conv") != clamp:
            raise ExportError("its critic clamps activations, its generator does not, or the other way round")
        deviation = parts["b4"].state["_modules"].get("mbstd")
        if isinstance(deviation, Record):
            _expect(deviation, "critic's mbstd", "num_channels", {1})
            group = int(deviation.state.get("group_size") or group)
        critic = _tensors(content["D"], "critic")
    trained = content["G"] if with_trained and is_module(content.get("G")) else None
    return Stylegan2Weights(
        origin=ORIGIN,
        generator=_tensors(averaged, "generator"),
        critic=critic,
        trained_generator=_tensors(trained, "generator")
        if isinstance(trained, Record) and is_module(trained)
        else None,
        clamp=clamp,
        stddev_group=group,
        w_average_decay=float(averaged.state["_modules"]["mapping"].state.get("w_avg_beta") or 0.995),
    )


def _blocks(parent: Any, player: str) -> dict[str, Record]:
    """Return the blocks b4, b8, … of a network; raise ExportError if it isn't a StyleGAN2."""
    parts = parent.state["_modules"] if is_module(parent) else {}
    blocks = {str(name): part for name, part in parts.items() if is_module(part) and str(name).startswith("b")}
    if "b4" not in blocks or any(not name[1:].isdecimal() for name in blocks):
        if "input" in parts:
            raise ExportError(STYLEGAN3)
        raise ExportError(
            f"its {player} is no StyleGAN2: it has the parts {', '.join(map(str, parts))[:200] or 'none'}"
        )
    return blocks


STYLEGAN3 = (
    "its generator is an alias-free StyleGAN3 (configuration t or r), which is another network than StyleGAN2. Export "
    "it to ONNX with stylegan3's code, by the program in docs/stylegan-faces.md (section StyleGAN3), and then run "
    "`ganserve package faces.onnx --out MODEL --range -1..1 --truncation-input psi=0.7`, which serves it one sample "
    "after another"
)


def _expect(module: Record, name: str, attribute: str, known: set[Any]) -> None:
    value = module.state.get(attribute, next(iter(known)))
    if value not in known:
        expected = " or ".join(map(str, sorted(known)))
        raise ExportError(f"its {name} has the {attribute} {value}, ganserve knows {expected}")


def _clamp(blocks: dict[str, Record], player: str, layer: str) -> float:
    """Return the value to which all layers of the blocks clamp."""
    values = set()
    for block in blocks.values():
        for name, part in block.state["_modules"].items():
            if is_module(part) and str(name).startswith(layer):
                values.add(float(part.state.get("conv_clamp") or 0.0))
                _expect(part, f"{player}'s {name}", "activation", {"lrelu"})
    if len(values) != 1:
        raise ExportError(f"its {player}'s layers clamp activations to different values: {sorted(values)}")
    return values.pop()


def _tensors(module: Record, player: str) -> Tensors:
    """Return the weights as float32, with silent noise in layers without any; check the filters."""
    tensors: Tensors = {}
    for name, tensor in tensors_of_module(module).items():
        if name.endswith("resample_filter"):
            _check_filter(tensor, name, player)
        else:
            tensors[name] = tensor.float()
    return tensors


def _check_filter(tensor: Tensor, name: str, player: str) -> None:
    if tensor.shape != () and not is_low_pass_filter(tensor):
        raise ExportError(f"its {player}'s {name} is another filter than [1, 3, 3, 1], which ganserve uses")
