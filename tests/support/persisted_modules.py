"""Make pickles as stylegan2-ada-pytorch and stylegan3 write them, by stand-ins with the names of their modules.

The modules' source code, which the original readers execute, makes a file named `ran` here: no reader may do so.
"""

import io
import pickle
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def named_modules(ran: Path) -> Iterator[type]:
    """Put stand-ins of torch_utils.persistence and dnnlib.util into sys.modules; give its EasyDict."""
    persistence, util = types.ModuleType("torch_utils.persistence"), types.ModuleType("dnnlib.util")

    def reconstruct(meta: Any) -> Any:
        ran.touch()

    reconstruct.__module__, reconstruct.__qualname__ = persistence.__name__, "_reconstruct_persistent_obj"
    persistence._reconstruct_persistent_obj = reconstruct
    easy = type("EasyDict", (dict,), {"__module__": util.__name__})
    util.EasyDict = easy
    added = {
        "torch_utils": types.ModuleType("torch_utils"),
        persistence.__name__: persistence,
        "dnnlib": types.ModuleType("dnnlib"),
        util.__name__: util,
    }
    before = {name: sys.modules.get(name) for name in added}
    sys.modules.update(added)
    try:
        yield easy
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


class Persistent(nn.Module):
    """A module that is pickled with source code, as the classes of persistence are."""

    kind, source = "Module", ""

    def __reduce__(self) -> tuple[Any, ...]:
        state = dict(self.__dict__)
        function = sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj
        meta = {"type": "class", "version": 6, "module_src": self.source, "class_name": self.kind, "state": state}
        return function, (meta,), None

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return self.__reduce__()


def module_of(kind: str, tensors: Mapping[str, Tensor], source: str = "", **attributes: Any) -> Persistent:
    """Return a tree of modules with these tensors by dotted name; those of "noise_const" and such are buffers."""
    root = Persistent()
    root.kind, root.source = kind, source
    for name, tensor in tensors.items():
        *path, last = name.split(".")
        at = root
        for part in path:
            if part not in at._modules:
                at.add_module(part, Persistent())
            at = at._modules[part]
        if last in {"noise_const", "w_avg", "resample_filter"}:
            at.register_buffer(last, tensor)
        else:
            at.register_parameter(last, nn.Parameter(tensor, requires_grad=False))
    for name, value in attributes.items():
        setattr(root, name, value)
    return root


def network_pickle(
    generator: Mapping[str, Tensor],
    critic: Mapping[str, Tensor] | None,
    folder: Path,
    *,
    protocol: int = 4,
    settings: Mapping[str, Any] | None = None,
    every: Mapping[str, Any] | None = None,
    trained: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write a network pickle into `folder`; its source code would make the file `ran` beside it.

    `settings` are the averaged generator's attributes, `every` those of all modules; `trained` is the other generator.
    """
    ran = folder / "ran"
    source = f"import pathlib; pathlib.Path({str(ran)!r}).touch()"
    with named_modules(ran) as easy:
        averaged = module_of("Generator", generator, source, **(settings or {}))
        content: dict[str, Any] = {"G": None, "D": None, "G_ema": averaged}
        if trained is not None:
            content["G"] = module_of("Generator", trained, source)
        if critic is not None:
            content["D"] = module_of("Discriminator", critic, source)
        for module in (part for network in (averaged, content["D"]) if network for part in network.modules()):
            vars(module).update(every or {})
        content["training_set_kwargs"] = easy(class_name="training.dataset.ImageFolderDataset", resolution=8)
        content["augment_pipe"] = None
        stream = io.BytesIO()
        pickle.dump(content, stream, protocol=protocol)
    path = folder / f"network-{protocol}.pkl"
    path.write_bytes(stream.getvalue())
    return path


def random_tensors() -> dict[str, Tensor]:
    """Return a few tensors as networks have them: transposed, of half precision, without dimensions, empty."""
    random = torch.Generator().manual_seed(0)
    return {
        "synthesis.b4.const": torch.randn(3, 4, 4, generator=random),
        "synthesis.b4.conv1.weight": torch.randn(3, 3, 3, 3, generator=random).to(memory_format=torch.channels_last),
        "synthesis.b4.conv1.noise_strength": torch.randn((), generator=random),
        "synthesis.b4.conv1.noise_const": torch.randn(4, 4, generator=random),
        "mapping.fc0.weight": torch.randn(5, 4, generator=random).T,
        "mapping.w_avg": torch.randn(8, generator=random)[2:6],
        "mapping.narrow": torch.randn(3, generator=random).half(),
        "mapping.brain": torch.randn(3, generator=random).bfloat16(),
        "mapping.absent": torch.empty(0, 3),
    }
