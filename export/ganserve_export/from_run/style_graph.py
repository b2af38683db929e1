"""Define the graph of a style-based generator: mapping, mixing, truncation in W, noise and synthesis in one.

N = batch, Z = latent, W = style vector w, L = layers that take one, R = side of a layer in pixels, H, C = image.
"""

import torch
from torch import Tensor, nn

from ganserve.v1 import model_spec_pb2
from ganserve_export.from_run.graph_modules import dtype_of
from ganserve_export.from_run.seeded_noise import SeededNoise
from ganserve_export.package.random_inputs import InputMaker
from ganserve_export.package.style_inputs import random_style_inputs
from ganserve_training import DataInfo
from ganserve_training.data import from_network
from ganserve_training.networks.stylegan2 import Stylegan2Generator
from ganserve_training.networks.stylegan2_mapping import mix_styles, truncate_styles

SAMPLES, USED_W = "samples", "used_w"


class StyleGraph(nn.Module):
    """The inputs of StyleSpec without labels -> samples uint8 [N, H, H, C] and w's float32 [N, L, W]."""

    w_average: Tensor

    def __init__(self, generator: Stylegan2Generator, data: DataInfo) -> None:
        super().__init__()
        self._data = data
        self._dtype = dtype_of(generator)
        self._layers = generator.layers
        self.generator = generator
        self.register_buffer("w_average", generator.mapping.w_avg.detach().to(torch.float32).clone())
        self.noise = SeededNoise(generator.latent_dim, generator.synthesis.noise_sides)

    def forward(
        self,
        latents: Tensor,
        psi: Tensor,
        mix_latents: Tensor,
        mix: Tensor,
        w: Tensor,
        w_given: Tensor,
        seeded_noise: Tensor | None = None,
        constant_noise: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Make one sample from each latent, or from given w's."""
        return self._run(latents, None, psi, mix_latents, mix, w, w_given, seeded_noise, constant_noise)

    def _run(
        self,
        latents: Tensor,
        labels: Tensor | None,
        psi: Tensor,
        mix_latents: Tensor,
        mix: Tensor,
        w: Tensor,
        w_given: Tensor,
        seeded_noise: Tensor | None,
        constant_noise: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        mixed = mix_styles(self._map(latents, labels), self._map(mix_latents, labels), mix)
        used = torch.where(w_given[:, None, None] > 0.5, w, truncate_styles(mixed, self.w_average, psi))
        noise = self._noise(latents, seeded_noise, constant_noise)
        images = self.generator.synthesis(used.to(self._dtype), noise)
        return from_network(images.to(torch.float32), self._data), used

    def _map(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        return self.generator.map(latents.to(self._dtype), labels, track=False).to(torch.float32)

    def _noise(self, latents: Tensor, seeded: Tensor | None, constant: Tensor | None) -> list[Tensor] | None:
        """Return the noise of each layer, [N, 1, R, R]."""
        if seeded is None or constant is None:
            return None
        stored = self.generator.synthesis.constant_noise
        return [
            seeded[:, None, None, None] * drawn + constant[:, None, None, None] * kept
            for drawn, kept in zip(self.noise(latents), stored, strict=True)
        ]


class LabelledStyleGraph(StyleGraph):
    """The inputs of StyleSpec and labels -> samples uint8 [N, H, H, C] and w's float32 [N, L, W]."""

    def forward(  # type: ignore[override]
        self,
        latents: Tensor,
        labels: Tensor,
        psi: Tensor,
        mix_latents: Tensor,
        mix: Tensor,
        w: Tensor,
        w_given: Tensor,
        seeded_noise: Tensor | None = None,
        constant_noise: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Make one sample from each latent and label, or from given w's."""
        return self._run(latents, labels, psi, mix_latents, mix, w, w_given, seeded_noise, constant_noise)


def style_graph(generator: Stylegan2Generator, data: DataInfo) -> StyleGraph:
    """Return the graph's module for a generator, with labels if it takes them."""
    return (LabelledStyleGraph if generator.label_count else StyleGraph)(generator, data)


def style_spec(generator: Stylegan2Generator) -> model_spec_pb2.StyleSpec:
    """Return the manifest's description of a generator's mapping and noise."""
    spec = model_spec_pb2.StyleSpec(layers=generator.layers, w_dimension=generator.w_dim)
    if generator.synthesis.noise_sides:
        spec.noise_modes.extend(
            (
                model_spec_pb2.NOISE_MODE_SEEDED,
                model_spec_pb2.NOISE_MODE_CONSTANT,
                model_spec_pb2.NOISE_MODE_NONE,
            )
        )
    return spec


def style_input_maker(make_inputs: InputMaker, spec: model_spec_pb2.StyleSpec) -> InputMaker:
    """Return a maker of all inputs from one of latents and labels."""
    return lambda batch, random: (inputs := make_inputs(batch, random)) | random_style_inputs(spec, inputs, random)
