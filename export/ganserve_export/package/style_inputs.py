"""Make the additional inputs of a style-based generator's graph.

N = batch, Z = latent, W = style vector w, L = layers that take one.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganserve.v1 import model_spec_pb2

Feed = dict[str, npt.NDArray[np.generic]]
_FACTORS = {
    model_spec_pb2.NOISE_MODE_SEEDED: (1.0, 0.0),
    model_spec_pb2.NOISE_MODE_CONSTANT: (0.0, 1.0),
    model_spec_pb2.NOISE_MODE_NONE: (0.0, 0.0),
}
"""Factors of seeded and constant noise."""


def default_style_inputs(spec: model_spec_pb2.StyleSpec, latents: npt.NDArray[np.float32]) -> Feed:
    """Return the inputs of a request that sets nothing, for latents [N, Z]."""
    count, layers = len(latents), spec.layers
    psi = np.ones((count, layers), np.float32)
    if spec.HasField("default_truncation"):
        psi[:, : spec.default_truncation_layers or layers] = spec.default_truncation
    feed: Feed = {"psi": psi}
    if spec.w_dimension:
        feed["mix_latents"] = latents
        feed["mix"] = np.zeros((count, layers), np.float32)
        feed["w"] = np.zeros((count, layers, spec.w_dimension), np.float32)
        feed["w_given"] = np.zeros(count, np.float32)
    if spec.noise_modes:
        seeded, constant = _FACTORS[spec.noise_modes[0]]
        feed["seeded_noise"] = np.full(count, seeded, np.float32)
        feed["constant_noise"] = np.full(count, constant, np.float32)
    return feed


def random_style_inputs(
    spec: model_spec_pb2.StyleSpec, inputs: dict[str, Tensor], random: torch.Generator
) -> dict[str, Tensor]:
    """Draw random additional inputs: any psi, mixed and unmixed samples, some given w's, all modes of noise."""
    latents = inputs["latents"]
    count, layers = len(latents), spec.layers

    def coins(*shape: int) -> Tensor:
        return torch.randint(0, 2, shape, generator=random).to(torch.float32)

    drawn = {"psi": torch.where(coins(count, 1) > 0, torch.rand(count, layers, generator=random), 1.0)}
    if spec.w_dimension:
        share = torch.rand(count, 1, generator=random)
        drawn["mix_latents"] = torch.randn(latents.shape, generator=random)
        drawn["mix"] = coins(count, 1) * torch.where(coins(count, 1) > 0, coins(count, layers), share)
        drawn["w"] = torch.randn(count, layers, spec.w_dimension, generator=random)
        drawn["w_given"] = coins(count)
    if spec.noise_modes:
        drawn |= {"seeded_noise": coins(count), "constant_noise": coins(count)}
    return drawn
