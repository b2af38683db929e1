"""Weights of small StyleGAN2s by the names of other projects' code.

H = side of an image, K = labels. The shapes are written out from those projects' code, not taken from ours.
"""

import itertools
import math

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
LATENT, W = 6, 8


class _Drawn:
    def __init__(self, seed: int) -> None:
        self._random = torch.Generator().manual_seed(seed)
        self.tensors: Tensors = {}

    def add(self, name: str, *shape: int, scale: float = 1.0, mean: float = 0.0) -> None:
        self.tensors[name] = torch.randn(shape, generator=self._random) * scale + mean


def low_pass(gain: float = 1.0) -> Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return taps[:, None] * taps[None] / 64.0 * gain


def ada_generator(side: int = 8, labels: int = 0, widths: tuple[int, ...] = (8, 6), seed: int = 0) -> Tensors:
    """Return a generator of stylegan2-ada-pytorch; widths are those of 4x4, 8x8 and so on."""
    drawn = _Drawn(seed)
    if labels:
        drawn.add("mapping.embed.weight", W, labels)
        drawn.add("mapping.embed.bias", W)
    for layer, inputs in enumerate((LATENT + (W if labels else 0), W)):
        drawn.add(f"mapping.fc{layer}.weight", W, inputs, scale=100.0)
        drawn.add(f"mapping.fc{layer}.bias", W, scale=30.0)
    drawn.add("mapping.w_avg", W, scale=0.3)
    inputs, size, level = 0, 4, 0
    while size <= side:
        block, width = f"synthesis.b{size}", widths[level]
        drawn.tensors[f"{block}.resample_filter"] = low_pass()
        if inputs:
            _synthesis_layer(drawn, f"{block}.conv0", inputs, width, size)
        else:
            drawn.add(f"{block}.const", width, 4, 4)
        _synthesis_layer(drawn, f"{block}.conv1", width, width, size)
        _affine(drawn, f"{block}.torgb", width)
        drawn.add(f"{block}.torgb.weight", 3, width, 1, 1)
        drawn.add(f"{block}.torgb.bias", 3, scale=0.3)
        inputs, size, level = width, 2 * size, level + 1
    return drawn.tensors


def _affine(drawn: _Drawn, name: str, outputs: int) -> None:
    drawn.add(f"{name}.affine.weight", outputs, W)
    drawn.add(f"{name}.affine.bias", outputs, scale=0.3, mean=1.0)


def _synthesis_layer(drawn: _Drawn, name: str, inputs: int, outputs: int, size: int) -> None:
    _affine(drawn, name, inputs)
    drawn.add(f"{name}.weight", outputs, inputs, 3, 3)
    drawn.add(f"{name}.bias", outputs, scale=0.3)
    drawn.add(f"{name}.noise_strength", scale=0.5)
    drawn.add(f"{name}.noise_const", size, size)
    drawn.tensors[f"{name}.resample_filter"] = low_pass()


def ada_critic(side: int = 8, labels: int = 0, widths: tuple[int, ...] = (8, 6), seed: int = 1) -> Tensors:
    """Return a critic of stylegan2-ada-pytorch; widths are those of 4x4, 8x8 and so on."""
    drawn = _Drawn(seed)
    size, level = side, len(widths) - 1
    drawn.add(f"b{side}.fromrgb.weight", widths[level], 3, 1, 1)
    drawn.add(f"b{side}.fromrgb.bias", widths[level], scale=0.3)
    while size > 4:
        inputs, outputs = widths[level], widths[level - 1]
        for name, shape in (("conv0", (inputs, inputs, 3, 3)), ("conv1", (outputs, inputs, 3, 3))):
            drawn.add(f"b{size}.{name}.weight", *shape)
            drawn.add(f"b{size}.{name}.bias", shape[0], scale=0.3)
        drawn.add(f"b{size}.skip.weight", outputs, inputs, 1, 1)
        for name in ("conv0", "conv1", "skip"):
            drawn.tensors[f"b{size}.{name}.resample_filter"] = low_pass()
        drawn.tensors[f"b{size}.resample_filter"] = low_pass()
        size, level = size // 2, level - 1
    last = widths[0]
    drawn.add("b4.conv.weight", last, last + 1, 3, 3)
    drawn.add("b4.conv.bias", last)
    drawn.add("b4.fc.weight", last, last * 16)
    drawn.add("b4.fc.bias", last)
    drawn.add("b4.out.weight", last if labels else 1, last)
    drawn.add("b4.out.bias", last if labels else 1)
    if labels:
        drawn.add("mapping.embed.weight", last, labels)
        drawn.add("mapping.embed.bias", last)
        for layer in range(8):
            drawn.add(f"mapping.fc{layer}.weight", last, last, scale=100.0)
            drawn.add(f"mapping.fc{layer}.bias", last, scale=30.0)
    return drawn.tensors


def rosinality_generator(side: int = 8, widths: tuple[int, ...] = (8, 6), seed: int = 2) -> Tensors:
    """Return a state_dict of a generator of rosinality/stylegan2-pytorch, whose latents are as long as its w's."""
    drawn = _Drawn(seed)
    for layer in (1, 2):
        drawn.add(f"style.{layer}.weight", W, W, scale=100.0)
        drawn.add(f"style.{layer}.bias", W, scale=30.0)
    drawn.add("input.input", 1, widths[0], 4, 4)
    _rosinality_layer(drawn, "conv1", widths[0], widths[0])
    _rosinality_image(drawn, "to_rgb1", widths[0])
    drawn.add("noises.noise_0", 1, 1, 4, 4)
    for level, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        size = 8 << level
        _rosinality_layer(drawn, f"convs.{2 * level}", inputs, outputs)
        drawn.tensors[f"convs.{2 * level}.conv.blur.kernel"] = low_pass(4.0)
        _rosinality_layer(drawn, f"convs.{2 * level + 1}", outputs, outputs)
        _rosinality_image(drawn, f"to_rgbs.{level}", outputs)
        drawn.tensors[f"to_rgbs.{level}.upsample.kernel"] = low_pass(4.0)
        for number in (1, 2):
            drawn.add(f"noises.noise_{2 * level + number}", 1, 1, size, size)
    return drawn.tensors


def _rosinality_modulated(drawn: _Drawn, name: str, inputs: int, outputs: int, kernel: int) -> None:
    drawn.add(f"{name}.conv.weight", 1, outputs, inputs, kernel, kernel)
    drawn.add(f"{name}.conv.modulation.weight", inputs, W)
    drawn.add(f"{name}.conv.modulation.bias", inputs, scale=0.3, mean=1.0)


def _rosinality_layer(drawn: _Drawn, name: str, inputs: int, outputs: int) -> None:
    _rosinality_modulated(drawn, name, inputs, outputs, 3)
    drawn.add(f"{name}.noise.weight", 1, scale=0.5)
    drawn.add(f"{name}.activate.bias", outputs, scale=0.3)


def _rosinality_image(drawn: _Drawn, name: str, inputs: int) -> None:
    _rosinality_modulated(drawn, name, inputs, 3, 1)
    drawn.add(f"{name}.bias", 1, 3, 1, 1, scale=0.3)


def rosinality_critic(side: int = 8, widths: tuple[int, ...] = (8, 6), seed: int = 3) -> Tensors:
    """Return a state_dict of a critic of rosinality/stylegan2-pytorch."""
    drawn = _Drawn(seed)
    drawn.add("convs.0.0.weight", widths[-1], 3, 1, 1)
    drawn.add("convs.0.1.bias", widths[-1])
    for index, level in enumerate(range(len(widths) - 1, 0, -1), 1):
        inputs, outputs = widths[level], widths[level - 1]
        drawn.add(f"convs.{index}.conv1.0.weight", inputs, inputs, 3, 3)
        drawn.add(f"convs.{index}.conv1.1.bias", inputs)
        drawn.tensors[f"convs.{index}.conv2.0.kernel"] = low_pass()
        drawn.add(f"convs.{index}.conv2.1.weight", outputs, inputs, 3, 3)
        drawn.add(f"convs.{index}.conv2.2.bias", outputs)
        drawn.tensors[f"convs.{index}.skip.0.kernel"] = low_pass()
        drawn.add(f"convs.{index}.skip.1.weight", outputs, inputs, 1, 1)
    last = widths[0]
    drawn.add("final_conv.0.weight", last, last + 1, 3, 3)
    drawn.add("final_conv.1.bias", last)
    drawn.add("final_linear.0.weight", last, last * 16)
    drawn.add("final_linear.0.bias", last)
    drawn.add("final_linear.1.weight", 1, last)
    drawn.add("final_linear.1.bias", 1)
    return drawn.tensors


def lucidrains_checkpoint(
    side: int = 16, widths: tuple[int, ...] = (8, 6, 4), *, attended: int = 1, no_const: bool = False, seed: int = 4
) -> Tensors:
    """Return the state_dict of lucidrains/stylegan2-pytorch's GAN: both generators, both mappings, the critic.

    Widths are those of 4x4, 8x8 and so on; generator and critic have attention at the level `attended`.
    """
    drawn = _Drawn(seed)
    for mapping in ("S", "SE"):
        for layer in (0, 2):
            drawn.add(f"{mapping}.net.{layer}.weight", W, W, scale=10.0)
            drawn.add(f"{mapping}.net.{layer}.bias", W, scale=3.0)
    for generator in ("G", "GE"):
        _lucidrains_generator(drawn, f"{generator}.", widths, attended, no_const=no_const)
    for critic in ("D", "D_aug.D"):
        _lucidrains_critic(drawn, f"{critic}.", side, widths, attended)
    return drawn.tensors


def _plain(drawn: _Drawn, name: str, *shape: int) -> None:
    """Draw a layer with a bias, whose weights have a variance of 1 / fan_in."""
    drawn.add(f"{name}.weight", *shape, scale=math.prod(shape[1:]) ** -0.5)
    drawn.add(f"{name}.bias", shape[0], scale=0.3)


def _lucidrains_generator(
    drawn: _Drawn, prefix: str, widths: tuple[int, ...], attended: int, *, no_const: bool
) -> None:
    first = widths[0]
    if no_const:
        drawn.add(f"{prefix}to_initial_block.weight", W, first, 4, 4)
    else:
        drawn.add(f"{prefix}initial_block", 1, first, 4, 4)
    _plain(drawn, f"{prefix}initial_conv", first, first, 3, 3)
    for level, (inputs, outputs) in enumerate(itertools.pairwise((first, *widths))):
        block = f"{prefix}blocks.{level}."
        for number, into in (("1", inputs), ("2", outputs)):
            _plain(drawn, f"{block}to_style{number}", into, W)
            _plain(drawn, f"{block}to_noise{number}", outputs, 1)
            drawn.add(f"{block}conv{number}.weight", outputs, into, 3, 3)
        _plain(drawn, f"{block}to_rgb.to_style", outputs, W)
        drawn.add(f"{block}to_rgb.conv.weight", 3, outputs, 1, 1, scale=0.1)
        if level + 1 < len(widths):
            drawn.tensors[f"{block}to_rgb.upsample.1.f"] = torch.tensor([1.0, 2.0, 1.0])
        if level == attended:
            _lucidrains_attention(drawn, f"{prefix}attns.{level}.", inputs)


def _lucidrains_critic(drawn: _Drawn, prefix: str, side: int, widths: tuple[int, ...], attended: int) -> None:
    inputs = 3
    outputs = [*widths[::-1], widths[0]]
    for level, width in enumerate(outputs):
        block = f"{prefix}blocks.{level}."
        _plain(drawn, f"{block}conv_res", width, inputs, 1, 1)
        _plain(drawn, f"{block}net.0", width, inputs, 3, 3)
        _plain(drawn, f"{block}net.2", width, width, 3, 3)
        if level + 1 < len(outputs):
            drawn.tensors[f"{block}downsample.0.f"] = torch.tensor([1.0, 2.0, 1.0])
            _plain(drawn, f"{block}downsample.1", width, width, 3, 3)
        if level == attended:
            _lucidrains_attention(drawn, f"{prefix}attn_blocks.{level}.", width)
        inputs = width
    assert side == 2 ** len(outputs)
    _plain(drawn, f"{prefix}final_conv", inputs, inputs, 3, 3)
    _plain(drawn, f"{prefix}to_logit", 1, 4 * inputs)


def _lucidrains_attention(drawn: _Drawn, name: str, width: int) -> None:
    for part in ("0", "1"):
        drawn.add(f"{name}{part}.fn.norm.g", 1, width, 1, 1, scale=0.3, mean=1.0)
        drawn.add(f"{name}{part}.fn.norm.b", 1, width, 1, 1, scale=0.3)
    drawn.add(f"{name}0.fn.fn.to_q.weight", 512, width, 1, 1)
    drawn.add(f"{name}0.fn.fn.to_kv.net.0.weight", width, 1, 3, 3)
    drawn.add(f"{name}0.fn.fn.to_kv.net.1.weight", 1024, width, 1, 1)
    _plain(drawn, f"{name}0.fn.fn.to_out", width, 512, 1, 1)
    _plain(drawn, f"{name}1.fn.fn.0", 2 * width, width, 1, 1)
    _plain(drawn, f"{name}1.fn.fn.2", width, 2 * width, 1, 1)
