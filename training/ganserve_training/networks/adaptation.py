"""Call networks of the user's own as they want to be called. N = batch, Z = latent, K = labels.

An adaptation depends on a network's code and options alone, never on its weights, so that a checkpoint fits again.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ganserve_training.networks.critic_output import CriticOutput, as_output

CriticRead = Literal["scores", "probabilities"]
GeneratorRange = Literal["symmetric", "unit"]
Call = Callable[[nn.Module, Tensor, Tensor | None], Any]

_EPSILON = 1e-6  # probabilities closer to 0 or 1 have no exact logit in float32


@dataclass(frozen=True, slots=True)
class Adaptation:
    """Differences between the call that a network expects and the one of training."""

    without_labels: bool = False
    """It takes samples or latents alone."""
    one_hot: int = 0
    """K, if it takes labels as float32 [N, K]; 0: int64 [N]."""
    label_maps: bool = False
    """Its one-hot labels are constant channels, [N, K, H, W] beside images, [N, K, 1, 1] beside latents."""
    as_maps: bool = False
    """It takes latents as [N, Z, 1, 1]."""
    copies_input: bool = False
    """It changes its input in place, so it gets a copy."""
    shape: tuple[int, ...] | None = None
    """Its output becomes [N, *shape]; None: it has this shape already."""
    to_float32: bool = False
    """Its output has another precision."""
    probabilities: bool = False
    """Its scores are probabilities, and become logits."""
    unit: bool = False
    """Its images are in [0, 1], and become [-1, 1]."""


class Adapted(nn.Module):
    """A network of the user's own behind an adaptation."""

    def __init__(self, network: nn.Module, how: Adaptation, notes: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.network = network
        self.how = how
        self.notes = notes
        """Remarks for the user."""
        self.train(network.training)

    def forward(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor | CriticOutput:
        """Call the network in its own way, and return what training expects."""
        how, count = self.how, inputs.shape[0]
        if how.copies_input:
            inputs = inputs.clone()
        if how.as_maps:
            inputs = inputs[:, :, None, None]
        if how.one_hot and labels is not None:
            labels = (labels[:, None] == torch.arange(how.one_hot, device=labels.device)).to(torch.float32)
            if how.label_maps:
                labels = labels[:, :, None, None].expand(-1, -1, *(inputs.shape[2:] or (1, 1)))
        made = self.network(inputs) if how.without_labels else self.network(inputs, labels)
        if isinstance(made, CriticOutput):
            return made._replace(scores=self._read(made.scores, count))
        return self._read(made, count)

    def _read(self, made: Tensor, count: int) -> Tensor:
        how = self.how
        if how.to_float32:
            made = made.to(torch.float32)
        if how.shape is not None:
            # By way of two axes: else export leaves the change out where it has no effect on more than one sample.
            rows = made.reshape(count, -1)
            made = rows.reshape(count, *how.shape) if how.shape else rows[:, 0]
        if how.probabilities:
            made = torch.logit(made, _EPSILON)
        return 2.0 * made - 1.0 if how.unit else made


def in_float32(network: nn.Module) -> Iterator[str]:
    """Give all weights the type and the place that training starts with; yield a note where they differ."""
    tensors = [*network.parameters(), *network.buffers()]
    known = [item for item in tensors if not nn.parameter.is_lazy(item)]
    others = sorted({str(item.dtype) for item in known if item.is_floating_point()} - {"torch.float32"})
    if others:
        network.float()
        yield f"its weights are {', '.join(others)}, and are trained as float32"
    if any(item.device.type not in ("cpu", "meta") for item in known):
        network.cpu()
        yield "its weights were made on a GPU; --device chooses where they are trained"


def calls(network: nn.Module, labels: int, *, latents: bool) -> Iterator[Adaptation]:
    """Yield the ways in which a network may want to be called, the usual one first."""
    alone = Adaptation(without_labels=not takes_two(network))
    for maps in (False, True) if latents else (False,):
        yield replace(alone, as_maps=maps)
        if labels and not alone.without_labels:
            yield replace(alone, as_maps=maps, one_hot=labels)
            yield replace(alone, as_maps=maps, one_hot=labels, label_maps=True)


def takes_two(network: nn.Module) -> bool:
    """Return True if `forward` takes a second argument by its place."""
    try:
        inspect.signature(network.forward).bind(None, None)
    except TypeError:
        return False
    return True


def reshaped(made: Tensor, alone: Tensor | None, expected: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the shape of one sample, if the outputs for two samples and for one need it and can be given it safely.

    Values may get further axes of length 1, or lose them. They may be flat, if there is one channel: with more, the
    order of the values is unknown.
    """
    alone = made[:1] if alone is None and made.ndim else alone
    if tuple(made.shape) == (2, *expected) and alone is not None and tuple(alone.shape) == (1, *expected):
        return None
    long = [length for length in made.shape[1:] if length != 1]
    flat = len(expected) == 3 and expected[0] == 1 and long == [expected[1] * expected[2]]
    fits = alone is not None and made.numel() == 2 * alone.numel() and made.ndim > 0 and made.shape[0] == 2
    return expected if fits and (flat or long == [length for length in expected if length != 1]) else None


def without_sigmoid(network: nn.Module, ask: Callable[[nn.Module], Any]) -> bool:
    """Replace the torch.nn.Sigmoid that the scores come from by the identity; return False if there is none.

    `ask` calls the network.
    """
    outputs: dict[str, list[Tensor]] = {}  # kept alive, so that no two share a place in memory

    def watch(name: str) -> Callable[..., None]:
        return lambda _module, _inputs, made: outputs.setdefault(name, []).append(made)

    sigmoids = {name: module for name, module in network.named_modules() if isinstance(module, nn.Sigmoid) and name}
    hooks = [module.register_forward_hook(watch(name)) for name, module in sigmoids.items()]
    try:
        scores = as_output(ask(network)).scores
    finally:
        for hook in hooks:
            hook.remove()
    last = [name for name, made in outputs.items() if [item.data_ptr() for item in made] == [scores.data_ptr()]]
    if len(last) != 1:
        return False
    parent, _, child = last[0].rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
    return True


def moved(network: nn.Module, by: float) -> nn.Module:
    """Return a copy with noise on all trained weights; torch's global random numbers do not change.

    The noise of a weight with n inputs has the deviation `by` / sqrt(n): else the values of wide networks explode, and
    with them their rounding.
    """
    copied, random = copy.deepcopy(network), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in copied.parameters():
            if weight.requires_grad:
                inputs = math.prod(weight.shape[1:])
                weight.add_(torch.randn(weight.shape, generator=random).to(weight), alpha=by / math.sqrt(inputs))
    return copied
