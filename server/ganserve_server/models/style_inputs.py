"""Make the additional inputs of a style-based generator's graph.

N = samples, Z = values of one latent, L = layers, W = values of one w.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from ganserve_server.engine.engine import TensorSpec
from ganserve_server.engine.sessions import Feed
from ganserve_server.models.style import Style, StyleWork

_FLOAT32 = np.dtype(np.float32)


def style_tensors(style: Style, latent_dimension: int) -> list[TensorSpec]:
    """Return the inputs."""
    shapes: dict[str, tuple[int, ...]] = {"psi": (style.layers,)}
    if style.w_dimension:
        shapes |= {"mix_latents": (latent_dimension,), "mix": (style.layers,)}
        shapes |= {"w": (style.layers, style.w_dimension), "w_given": ()}
    if style.noise_modes:
        shapes |= {"seeded_noise": (), "constant_noise": ()}
    return [TensorSpec(name=name, dtype=_FLOAT32, sample_shape=shape) for name, shape in shapes.items()]


def w_tensors(style: Style | None) -> list[TensorSpec]:
    """Return the output of w's, if the graph has it."""
    if style is None or not style.w_dimension:
        return []
    return [TensorSpec(name="used_w", dtype=_FLOAT32, sample_shape=(style.layers, style.w_dimension))]


def style_feed(
    style: Style,
    latents: NDArray[np.float32],
    works: Iterable[tuple[StyleWork, slice, int]] = (),
    draw_mixed: Callable[[slice], NDArray[np.float32]] | None = None,
) -> Feed:
    """Return the inputs for latents [N, Z].

    Each of the `works` has its rows in the call, and the index of the first of them among its own samples; the other
    rows get the model's defaults. `draw_mixed` returns the other latents of rows that mix.
    """
    count = len(latents)
    feed: Feed = {"psi": np.tile(style.psi(), (count, 1))}
    if style.w_dimension:
        feed["mix_latents"] = latents
        feed["mix"] = np.zeros((count, style.layers), np.float32)
        feed["w"] = np.zeros((count, style.layers, style.w_dimension), np.float32)
        feed["w_given"] = np.zeros(count, np.float32)
    if style.noise_modes:
        seeded, constant = style.noise_modes[0].value
        feed["seeded_noise"] = np.full(count, seeded, np.float32)
        feed["constant_noise"] = np.full(count, constant, np.float32)
    for work, rows, start in works:
        if work.psi is not None:
            feed["psi"][rows] = work.psi
        if work.noise is not None:
            feed["seeded_noise"][rows], feed["constant_noise"][rows] = work.noise.value
        if work.w is not None:
            feed["w"][rows] = work.w[start : start + rows.stop - rows.start]
            feed["w_given"][rows] = 1
        if work.mix_from:
            assert draw_mixed is not None
            if feed["mix_latents"] is latents:
                feed["mix_latents"] = latents.copy()
            feed["mix_latents"][rows] = draw_mixed(rows)
            feed["mix"][rows, work.mix_from :] = 1
    return feed
