"""The distribution of a package's latents: a prior's values, then controls. N = batch, Z = latent."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ganserve_training.networks.config import LatentDistribution
from ganserve_training.networks.latents import LatentPrior


@dataclass(frozen=True, kw_only=True, slots=True)
class DeclaredControl:
    """A value of the latent that a request may set by name."""

    name: str
    low: float
    high: float
    default: float | None
    """Its value unless a request sets it; None: uniform on [low, high)."""
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentValues:
    """A prior, and controls as the last values of the latent."""

    prior: LatentPrior
    controls: tuple[DeclaredControl, ...] = ()

    @classmethod
    def of(cls, prior: LatentPrior) -> "LatentValues":
        """Return a prior's values, whose last ones may be InfoGAN's continuous codes."""
        first = prior.dim - prior.continuous_codes
        plain = LatentPrior(dim=first, distribution=prior.distribution, continuous_codes=0)
        return cls(
            prior=plain,
            controls=tuple(
                DeclaredControl(
                    name=f"c{code}",
                    low=-1.0,
                    high=1.0,
                    default=None,
                    description=f"continuous code {code}: what it changes was found in training (InfoGAN)",
                )
                for code in range(prior.continuous_codes)
            ),
        )

    @property
    def dim(self) -> int:
        """Return Z, controls included."""
        return self.prior.dim + len(self.controls)

    @property
    def distribution(self) -> LatentDistribution:
        """Return the distribution of the values that are not controls."""
        return self.prior.distribution

    def draw(self, count: int, generator: torch.Generator, *, at_defaults: bool = False) -> Tensor:
        """Draw latents float32 [N, Z]; controls are uniform in their range, or at the defaults that they have."""
        latents = self.prior.draw(count, generator)
        if not self.controls:
            return latents
        shares = torch.rand((count, len(self.controls)), generator=generator, device=generator.device)
        low = torch.tensor([control.low for control in self.controls])
        high = torch.tensor([control.high for control in self.controls])
        values = low + shares * (high - low)
        if at_defaults:
            for place, control in enumerate(self.controls):
                if control.default is not None:
                    values[:, place] = control.default
        return torch.cat([latents, values], dim=1)
