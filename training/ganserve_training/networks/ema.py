"""The exponential moving average of a network's weights."""

import copy
from dataclasses import dataclass

import torch
from torch import nn

from ganserve_training.options.checks import expect_not_negative, refusal


@dataclass(frozen=True, kw_only=True, slots=True)
class EmaConfig:
    """The exponential moving average of the generator's weights, which evaluation and export use."""

    half_life_kimg: float = 10.0
    """Half-life of old weights in the average, in thousands of training samples; 0: no averaging."""
    warm_up_fraction: float = 0.05
    """Largest half-life, as a share of the samples so far (Karras et al. 2020); 0: no limit."""

    def __post_init__(self) -> None:
        expect_not_negative("ema.half_life_kimg", self.half_life_kimg)
        expect_not_negative("ema.warm_up_fraction", self.warm_up_fraction)
        if self.half_life_kimg == 0.0 and self.warm_up_fraction not in (0.0, 0.05):
            problem = "has no effect while --ema.half-life-kimg is 0, which switches averaging off"
            raise refusal("ema.warm_up_fraction", self.warm_up_fraction, problem, "Leave it out")


def ema_decay(config: EmaConfig, batch_size: int, samples_seen: int) -> float:
    """Return the weight of the old average in one update: 0.5 ^ (batch / half-life), or 0 without averaging.

    The half-life is at most `warm_up_fraction` of the samples seen, so that the first weights soon lose their effect.
    """
    half_life = config.half_life_kimg * 1000.0
    if config.warm_up_fraction > 0.0:
        half_life = min(half_life, samples_seen * config.warm_up_fraction)
    return 0.5 ** (batch_size / half_life) if half_life > 0.0 else 0.0


class Ema:
    """An average of a network's weights over time; it starts as a copy of `source`."""

    def __init__(self, source: nn.Module, config: EmaConfig) -> None:
        self.module = copy.deepcopy(source).eval().requires_grad_(False)
        self._config = config
        self._ours = [p.data for p in self.module.parameters()]
        self._theirs = [p.data for p in source.parameters()]
        self._buffers = list(zip(self.module.buffers(), source.buffers(), strict=True))

    @torch.no_grad()
    def update(self, batch_size: int, samples_seen: int) -> None:
        """Move the average towards the source's weights, and copy its buffers."""
        decay = ema_decay(self._config, batch_size, samples_seen)
        torch._foreach_lerp_(self._ours, self._theirs, 1.0 - decay)
        for ours, theirs in self._buffers:
            ours.copy_(theirs)
