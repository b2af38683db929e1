"""StyleGAN2's formulas in NumPy, float64, with loops and weights of each sample: slow, and unlike the networks' code.

N = batch, I = channels in, O = channels out, R = side, W = length of w. Sources: Karras et al. 2017, 2019, 2020.
"""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = dict[str, Array]
FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64.0


def leaky(x: Array) -> Array:
    return np.where(x < 0.0, 0.2 * x, x) * math.sqrt(2.0)


def normalised(x: Array) -> Array:
    return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-8)


def linear(weights: Weights, name: str, x: Array, rate: float = 1.0) -> Array:
    weight = weights[f"{name}.weight"]
    return x @ weight.T * (rate / math.sqrt(weight.shape[1])) + weights[f"{name}.bias"] * rate


def mapping(weights: Weights, name: str, latents: Array | None, labels: list[int] | None, layers: int) -> Array:
    parts = [] if latents is None else [normalised(latents)]
    if labels is not None:
        one_hot = np.eye(weights[f"{name}.embed.weight"].shape[1])[labels]
        parts.append(normalised(linear(weights, f"{name}.embed", one_hot)))
    w = np.concatenate(parts, axis=1)
    for index in range(layers):
        w = leaky(linear(weights, f"{name}.fc{index}", w, rate=0.01))
    return w


def convolve(x: Array, weight: Array, pad: int) -> Array:
    """Correlate [I, R, R] with [O, I, k, k]."""
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    k = weight.shape[2]
    windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(1, 2))
    return np.einsum("iyxab,oiab->oyx", windows, weight)


def filtered(x: Array, before: int, after: int) -> Array:
    """Filter each channel of [I, R, R] by FILTER after padding."""
    x = np.pad(x, ((0, 0), (before, after), (before, after)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (4, 4), axis=(1, 2))
    return np.einsum("iyxab,ab->iyx", windows, FILTER)


def spread(x: Array) -> Array:
    """Put zeros after each pixel along both axes."""
    wide = np.zeros((x.shape[0], 2 * x.shape[1], 2 * x.shape[2]))
    wide[:, ::2, ::2] = x
    return wide


def modulated(x: Array, weight: Array, style: Array, *, up: bool, demodulate: bool) -> Array:
    """Convolve one sample [I, R, R] with weights [O, I, k, k] scaled for it (Karras et al. 2020, eq. 1, 3)."""
    own = weight * style[None, :, None, None]
    if demodulate:
        own = own / np.sqrt((own**2).sum(axis=(1, 2, 3), keepdims=True) + 1e-8)
    if not up:
        return convolve(x, own, weight.shape[2] // 2)
    # Zeros between pixels, the mirrored kernel (a transposed convolution), then the filter with gain 4.
    made = convolve(spread(x)[:, :-1, :-1], own[:, :, ::-1, ::-1], 2)
    return filtered(made, 1, 1) * 4.0


def synthesis(weights: Weights, styles: Array, noise: list[Array], sides: list[int]) -> Array:
    """Make images [N, C, R, R] from w's [N, L, W], with noises [N, side, side]."""
    images = []
    for n in range(len(styles)):
        layer = 0
        x, image = weights["synthesis.b4.const"], None
        for side in sides:
            block = f"synthesis.b{side}"
            for conv in ("conv1",) if side == 4 else ("conv0", "conv1"):
                name = f"{block}.{conv}"
                style = linear(weights, f"{name}.affine", styles[n : n + 1, layer])[0]
                x = modulated(x, weights[f"{name}.weight"], style, up=conv == "conv0", demodulate=True)
                x = x + noise[layer][n] * weights[f"{name}.noise_strength"]
                x = leaky(x + weights[f"{name}.bias"][:, None, None])
                layer += 1
            weight = weights[f"{block}.torgb.weight"]
            style = linear(weights, f"{block}.torgb.affine", styles[n : n + 1, layer])[0] / math.sqrt(weight.shape[1])
            made = modulated(x, weight, style, up=False, demodulate=False)
            made = made + weights[f"{block}.torgb.bias"][:, None, None]
            image = made if image is None else filtered(spread(image), 2, 1) * 4.0 + made
        images.append(image)
    return np.stack(images)


def _conv(weights: Weights, name: str, x: Array, pad: int) -> Array:
    weight = weights[f"{name}.weight"]
    return convolve(x, weight / math.sqrt(weight[0].size), pad)


def _active(weights: Weights, name: str, x: Array, pad: int) -> Array:
    return leaky(_conv(weights, name, x, pad) + weights[f"{name}.bias"][:, None, None])


def critic(weights: Weights, samples: Array, labels: list[int] | None, sides: list[int], group: int) -> Array:
    """Score images [N, C, R, R] in training mode, with residual blocks."""
    features = []
    for x in samples:
        for side in sides:
            block = f"b{side}"
            x = _active(weights, f"{block}.fromrgb", x, 0) if side == sides[0] else x
            inner = filtered(_active(weights, f"{block}.conv0", x, 1), 2, 2)
            inner = _conv(weights, f"{block}.conv1", inner, 0)[:, ::2, ::2]
            inner = leaky(inner + weights[f"{block}.conv1.bias"][:, None, None])
            skip = _conv(weights, f"{block}.skip", filtered(x, 1, 1)[:, ::2, ::2], 0)
            x = (inner + skip) * math.sqrt(0.5)
        features.append(x)
    count = len(samples)
    groups = np.stack(features).reshape(group, count // group, *features[0].shape)  # Members are count / group apart.
    deviation = np.sqrt(groups.var(axis=0) + 1e-8).mean(axis=(1, 2, 3))
    scores = []
    for n, x in enumerate(features):
        x = np.concatenate([x, np.full((1, 4, 4), deviation[n % (count // group)])])
        x = _active(weights, "b4.conv", x, 1)
        scores.append(linear(weights, "b4.out", leaky(linear(weights, "b4.fc", x.reshape(1, -1))))[0])
    outputs = np.stack(scores)
    if labels is None:
        return outputs[:, 0]
    direction = mapping(weights, "mapping", None, labels, 8)
    return (outputs * direction).sum(axis=1) / math.sqrt(outputs.shape[1])
