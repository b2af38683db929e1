"""StyleGAN2 in NumPy, from the papers' formulas: a second implementation that imported networks are compared with.

It takes weights with the names of stylegan2-ada-pytorch, and computes resampling as its definition says: zeros between
pixels, then the filter, then every second pixel. N = batch, Z = latent, W = style vector, L = layers that take one,
I, O = channels in and out, R = side in pixels, K = labels.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Weights = Mapping[str, Array]
_SQRT2, _LEAK, _EPSILON = np.float32(np.sqrt(2.0)), np.float32(0.2), np.float32(1e-8)
_ONE = np.float32(1.0)
_RATE = np.float32(0.01)  # of the mapping's layers
_FILTER = np.asarray([1.0, 3.0, 3.0, 1.0], np.float32) / 8.0


def mapping(weights: Weights, latents: Array | None, one_hot: Array | None, prefix: str = "mapping.") -> Array:
    """Map latents [N, Z] and one-hot labels [N, K], each if the network takes it, to w [N, W]."""
    parts = [] if latents is None else [_normalised(latents)]
    if one_hot is not None:
        parts.append(_normalised(_linear(weights, f"{prefix}embed", one_hot)))
    values = np.concatenate(parts, axis=1)
    layer = 0
    while f"{prefix}fc{layer}.weight" in weights:
        values = _active(_linear(weights, f"{prefix}fc{layer}", values, _RATE))
        layer += 1
    return values


def synthesis(weights: Weights, styles: Array, *, clamp: float = 0.0, prefix: str = "synthesis.") -> Array:
    """Map w's [N, L, W] to images [N, C, H, H] with the layers' constant noise."""
    images: Array | None = None
    side, layer = 4, 0
    features = np.repeat(weights[f"{prefix}b4.const"][None], len(styles), axis=0)
    while f"{prefix}b{side}.conv1.weight" in weights:
        block = f"{prefix}b{side}."
        for name in ("conv0", "conv1")[side == 4 :]:
            features = _styled(weights, block + name, features, styles[:, layer], clamp, doubles=name == "conv0")
            layer += 1
        made = _modulated(weights, f"{block}torgb", features, styles[:, layer], demodulates=False)
        made = _clamped(made + weights[f"{block}torgb.bias"][:, None, None], clamp)
        images = made if images is None else _filtered(_spread(images), (2, 1), 4.0) + made
        side *= 2
    assert images is not None
    return images


def critic(weights: Weights, images: Array, one_hot: Array | None, deviation: float, *, clamp: float = 0.0) -> Array:
    """Score images [N, C, H, H], with one-hot labels [N, K] if it takes them: [N].

    `deviation` is the value of the minibatch standard deviation's channel.
    """
    side = images.shape[-1]
    features = _conv_active(weights, f"b{side}.fromrgb", images, clamp)
    while side > 4:
        inner = _conv_active(weights, f"b{side}.conv0", features, clamp)
        gain = np.float32(np.sqrt(0.5)) if f"b{side}.skip.weight" in weights else np.float32(1.0)
        inner = _filtered(inner, (2, 2))
        inner = _convolved(inner, _scaled(weights[f"b{side}.conv1.weight"]), padding=0)[:, :, ::2, ::2]
        inner = _clamped(_active(inner + weights[f"b{side}.conv1.bias"][:, None, None]) * gain, clamp * float(gain))
        if f"b{side}.skip.weight" in weights:
            small = _filtered(features, (1, 1))[:, :, ::2, ::2]
            inner = inner + _convolved(small, _scaled(weights[f"b{side}.skip.weight"]), padding=0) * gain
        features, side = inner, side // 2
    if weights["b4.conv.weight"].shape[1] > features.shape[1]:
        channel = np.full_like(features[:, :1], deviation)
        features = np.concatenate([features, channel], axis=1)
    features = _conv_active(weights, "b4.conv", features, clamp)
    values = _active(_linear(weights, "b4.fc", features.reshape(len(images), -1)))
    values = _linear(weights, "b4.out", values)
    if one_hot is None:
        return values[:, 0].copy()
    direction = mapping(weights, None, one_hot)
    return np.asarray((values * direction).sum(axis=1) / np.sqrt(direction.shape[1]), np.float32)


def _normalised(values: Array) -> Array:
    return np.asarray(values / np.sqrt((values**2).mean(axis=1, keepdims=True) + _EPSILON), np.float32)


def _linear(weights: Weights, name: str, values: Array, rate: np.float32 = _ONE) -> Array:
    weight = weights[f"{name}.weight"]
    return values @ weight.T * (rate / np.float32(np.sqrt(weight.shape[1]))) + weights[f"{name}.bias"] * rate


def _active(values: Array) -> Array:
    return np.where(values > 0, values, values * _LEAK) * _SQRT2


def _clamped(values: Array, clamp: float) -> Array:
    return np.clip(values, -clamp, clamp) if clamp else values


def _scaled(weight: Array) -> Array:
    return weight / np.float32(np.sqrt(weight[0].size))


def _conv_active(weights: Weights, name: str, features: Array, clamp: float) -> Array:
    weight = weights[f"{name}.weight"]
    made = _convolved(features, _scaled(weight), padding=weight.shape[-1] // 2)
    return _clamped(_active(made + weights[f"{name}.bias"][:, None, None]), clamp)


def _styled(weights: Weights, name: str, features: Array, w: Array, clamp: float, *, doubles: bool) -> Array:
    """Return a synthesis layer's output: modulated convolution, constant noise, bias, leaky ReLU."""
    made = _modulated(weights, name, features, w, doubles=doubles)
    if f"{name}.noise_const" in weights:
        made += weights[f"{name}.noise_const"] * weights[f"{name}.noise_strength"]
    return _clamped(_active(made + weights[f"{name}.bias"][:, None, None]), clamp)


def _modulated(
    weights: Weights, name: str, features: Array, w: Array, *, doubles: bool = False, demodulates: bool = True
) -> Array:
    """Convolve each sample with its own weights, as the paper says (section 2.2, equations 1 and 3)."""
    weight = weights[f"{name}.weight"]
    styles = _linear(weights, f"{name}.affine", w)
    made = []
    for sample, style in zip(features, styles, strict=True):
        own = weight * style[:, None, None]
        own = own / np.sqrt((own**2).sum(axis=(1, 2, 3), keepdims=True) + _EPSILON) if demodulates else _scaled(own)
        if doubles:  # A transposed convolution: zeros between pixels, then a convolution with the flipped weights.
            spread = _spread(sample[None])[:, :, :-1, :-1]
            made.append(_filtered(_convolved(spread, own[:, :, ::-1, ::-1], padding=2), (1, 1), 4.0)[0])
        else:
            made.append(_convolved(sample[None], own, padding=weight.shape[-1] // 2)[0])
    return np.stack(made)


def _spread(features: Array) -> Array:
    """Put a zero after each pixel, along both axes."""
    count, channels, rows, columns = features.shape
    spread = np.zeros((count, channels, 2 * rows, 2 * columns), np.float32)
    spread[:, :, ::2, ::2] = features
    return spread


def _filtered(features: Array, padding: tuple[int, int], gain: float = 1.0) -> Array:
    """Pad [N, C, R, R] with zeros before and after, and filter both axes by [1, 3, 3, 1] / 8; scale by `gain`."""
    for axis in (2, 3):
        around = [(0, 0)] * 4
        around[axis] = padding
        padded = np.pad(features, around)
        length = padded.shape[axis] - len(_FILTER) + 1
        taken = (np.take(padded, np.arange(tap, tap + length), axis=axis) * _FILTER[tap] for tap in range(len(_FILTER)))
        features = sum(taken, np.zeros((), np.float32))
    return features * np.float32(gain)


def _convolved(features: Array, weight: Array, padding: int) -> Array:
    """Correlate [N, I, R, R] with [O, I, k, k], as neural networks do: [N, O, R', R']."""
    padded = np.pad(features, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    size = weight.shape[-1]
    rows, columns = padded.shape[2] - size + 1, padded.shape[3] - size + 1
    made = np.zeros((len(features), len(weight), rows * columns), np.float32)
    for row in range(size):
        for column in range(size):
            part = padded[:, :, row : row + rows, column : column + columns]
            made += weight[:, :, row, column] @ part.reshape(len(features), -1, rows * columns)
    return made.reshape(len(features), len(weight), rows, columns)
