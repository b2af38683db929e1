"""The StyleGAN2 variant of lucidrains/stylegan2-pytorch in NumPy: a second implementation, for comparison.

It takes weights with that code's names. N = batch, Z = latent, W = style vector w, L = levels, each with a w,
I, O = channels in and out, R, H = side in pixels.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.special import erf

Array = npt.NDArray[np.float32]
Weights = Mapping[str, Array]
_LEAK = np.float32(0.2)
_HEADS, _HEAD_WIDTH = 8, 64


def mapping(weights: Weights, latents: Array, rate: float) -> Array:
    """Map latents [N, Z] to w [N, W]."""
    values = latents / np.linalg.norm(latents, axis=1, keepdims=True)
    layer = 0
    while f"net.{layer}.weight" in weights:
        product = values @ (weights[f"net.{layer}.weight"] * np.float32(rate)).T
        values = _active(product + weights[f"net.{layer}.bias"] * np.float32(rate))
        layer += 2
    return np.asarray(values, np.float32)


def synthesis(weights: Weights, styles: Array, noise: Array) -> Array:
    """Map w's [N, L, W] and noise images [N, H, H] from 0 to 1 to images [N, C, H, H], about in 0 to 1."""
    return np.stack([_image(weights, w, drawn) for w, drawn in zip(styles, noise, strict=True)])


def _image(weights: Weights, styles: Array, noise: Array) -> Array:
    """Make one image [C, H, H] from w's [L, W] and noise [H, H]: each sample has weights of its own."""
    if "initial_block" in weights:
        features = weights["initial_block"][0]
    else:
        features = np.einsum("w,wors->ors", styles.mean(axis=0), weights["to_initial_block.weight"])
    features = _conv(features, weights["initial_conv.weight"]) + _column(weights["initial_conv.bias"])
    image: Array | None = None
    for level, w in enumerate(styles):
        block = f"blocks.{level}."
        features = _attended(weights, f"attns.{level}.", features)
        if level:
            features = _doubled(features)
        cut = noise[: features.shape[1], : features.shape[2]].T
        for number in ("1", "2"):
            strength = weights[f"{block}to_noise{number}.weight"][:, 0]
            drawn = _column(strength) * cut + _column(weights[f"{block}to_noise{number}.bias"])
            own = (
                weights[f"{block}conv{number}.weight"]
                * (1 + _affine(weights, f"{block}to_style{number}", w))[:, None, None]
            )
            own = own / np.sqrt((own**2).sum(axis=(1, 2, 3), keepdims=True) + np.float32(1e-8))
            features = _active(_conv(features, own) + drawn)
        scales = 1 + _affine(weights, f"{block}to_rgb.to_style", w)
        made = _conv(features, weights[f"{block}to_rgb.conv.weight"] * scales[:, None, None])
        image = made if image is None else image + made
        if level + 1 < len(styles):
            image = _blurred(_doubled(image))
    assert image is not None
    return np.asarray(image, np.float32)


def critic(weights: Weights, images: Array, sign: float) -> Array:
    """Score images [N, C, H, H] from 0 to 1: [N]."""
    return np.concatenate([_score(weights, image) for image in images]) * np.float32(sign)


def _score(weights: Weights, features: Array) -> Array:
    level = 0
    while f"blocks.{level}.conv_res.weight" in weights:
        block = f"blocks.{level}."
        inner = features
        for place in ("net.0", "net.2"):
            inner = _active(_conv(inner, weights[f"{block}{place}.weight"]) + _column(weights[f"{block}{place}.bias"]))
        aside = _conv(features, weights[f"{block}conv_res.weight"]) + _column(weights[f"{block}conv_res.bias"])
        if f"{block}downsample.1.weight" in weights:
            inner = _conv(_blurred(inner), weights[f"{block}downsample.1.weight"])[:, ::2, ::2]
            inner = inner + _column(weights[f"{block}downsample.1.bias"])
            aside = aside[:, ::2, ::2]
        features = np.asarray((inner + aside) / np.sqrt(2.0), np.float32)
        features = _attended(weights, f"attn_blocks.{level}.", features)
        level += 1
    features = _conv(features, weights["final_conv.weight"]) + _column(weights["final_conv.bias"])
    return np.asarray(weights["to_logit.weight"] @ features.reshape(-1) + weights["to_logit.bias"])


def _attended(weights: Weights, name: str, features: Array) -> Array:
    """Return features [I, R, R] after attention and two 1 x 1 convolutions, if the network has them at this place."""
    if f"{name}0.fn.norm.g" not in weights:
        return features
    features = features + _attention(weights, f"{name}0.fn.fn.", _normalised(weights, f"{name}0.fn.norm.", features))
    inner = _normalised(weights, f"{name}1.fn.norm.", features)
    inner = _active(_conv(inner, weights[f"{name}1.fn.fn.0.weight"]) + _column(weights[f"{name}1.fn.fn.0.bias"]))
    return features + _conv(inner, weights[f"{name}1.fn.fn.2.weight"]) + _column(weights[f"{name}1.fn.fn.2.bias"])


def _normalised(weights: Weights, name: str, features: Array) -> Array:
    scaled = (features - features.mean(axis=0)) / np.sqrt(features.var(axis=0) + np.float32(1e-5))
    return np.asarray(scaled * weights[f"{name}g"][0] + weights[f"{name}b"][0], np.float32)


def _attention(weights: Weights, name: str, features: Array) -> Array:
    """Return, for each pixel and head, the values that its query finds: sum_k softmax(q)_k sum_p softmax(k)_kp v_p."""
    wide = np.stack(
        [
            _conv(plane[None], taps[None])[0]
            for plane, taps in zip(features, weights[f"{name}to_kv.net.0.weight"], strict=True)
        ]
    )
    both = _conv(wide, weights[f"{name}to_kv.net.1.weight"])
    keys, values = np.split(both.reshape(2 * _HEADS, _HEAD_WIDTH, -1), 2)
    queries = _conv(features, weights[f"{name}to_q.weight"]).reshape(_HEADS, _HEAD_WIDTH, -1)
    found = []
    for query, key, value in zip(queries, keys, values, strict=True):
        context = _softmax(key, axis=1) @ value.T
        found.append(context.T @ (_softmax(query, axis=0) / np.float32(np.sqrt(_HEAD_WIDTH))))
    made = np.concatenate(found).reshape(-1, *features.shape[1:])
    made = np.asarray(made * 0.5 * (1.0 + erf(made / np.sqrt(2.0))), np.float32)
    return _conv(made, weights[f"{name}to_out.weight"]) + _column(weights[f"{name}to_out.bias"])


def _softmax(values: Array, axis: int) -> Array:
    powers = np.exp(values - values.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True), np.float32)


def _active(values: Array) -> Array:
    return np.where(values > 0, values, values * _LEAK)


def _column(values: Array) -> Array:
    return values[:, None, None]


def _affine(weights: Weights, name: str, w: Array) -> Array:
    return weights[f"{name}.weight"] @ w + weights[f"{name}.bias"]


def _doubled(features: Array) -> Array:
    """Double [I, R, R]: each new pixel is 3/4 of the nearest old one and 1/4 of the next, along both axes."""
    for axis in (1, 2):
        around = [(0, 0), (0, 0), (0, 0)]
        around[axis] = (1, 1)
        padded, length = np.pad(features, around, mode="edge"), features.shape[axis]
        before, after = (padded.take(range(start, start + length), axis) for start in (0, 2))
        pairs = np.stack([features * 3 + before, features * 3 + after], axis + 1) / np.float32(4.0)
        features = pairs.reshape(*(size * (2 if place == axis else 1) for place, size in enumerate(features.shape)))
    return features


def _blurred(features: Array) -> Array:
    """Filter [I, R, R] by [1, 2, 1] / 4 along both axes, with reflected borders."""
    padded = np.pad(features, [(0, 0), (1, 1), (1, 1)], mode="reflect")
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    return np.asarray((rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / np.float32(16.0))


def _conv(features: Array, weight: Array) -> Array:
    """Correlate [I, R, R] with [O, I, k, k], zeros around, as neural networks do: [O, R, R]."""
    size, side = weight.shape[-1], features.shape[-1]
    margin = size // 2
    padded = np.pad(features, [(0, 0), (margin, margin), (margin, margin)])
    made = np.zeros((len(weight), features[0].size), np.float32)
    for row in range(size):
        for column in range(size):
            part = padded[:, row : row + side, column : column + side].reshape(len(features), -1)
            made += weight[:, :, row, column] @ part
    return made.reshape(len(weight), *features.shape[1:])
