"""Critics that mix their samples. N = batch, C = channels, H = height, W = width, D = values, m = packed samples.

Their score of a sample depends on the other samples, so real and generated samples must be scored separately. In eval
mode all except a packed critic score each sample alone.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganserve_training.networks.critic_output import CriticOutput


class MinibatchStddev(nn.Module):
    """Appends a channel with the deviation of the samples in a group (Karras et al. 2017, section 3).

    In training it is sqrt(variance + 1e-8) over each `group` of samples, averaged over everything else. In eval mode it
    is the running mean from training, so that each sample is scored alone. A smaller batch is one group.
    """

    running_mean: Tensor
    batches: Tensor

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group
        self.register_buffer("running_mean", torch.zeros(()))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, features: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C + 1, H, W], or [N, D] to [N, D + 1]; in training N is a multiple of the group."""
        count = features.shape[0]
        place = (1, *features.shape[2:])
        if not self.training:
            channel = self.running_mean.to(features.dtype).expand(count, *place)
            return torch.cat([features, channel], dim=1)
        group = min(self.group, count)
        if count % group:
            problem = f"must divide the batch, {count}. Use {count - count % group} or another group"
            raise ValueError(f"--networks.minibatch-stddev-group {self.group}: {problem}.")
        exact = torch.promote_types(features.dtype, torch.float32)  # bfloat16 has too few digits for variances.
        grouped = features.reshape(group, count // group, -1).to(exact)
        deviation = (grouped.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=1)
        self._track(deviation.detach().mean())
        channel = deviation.to(features.dtype).repeat(group).view(count, *[1] * len(place)).expand(count, *place)
        return torch.cat([features, channel], dim=1)

    @torch.no_grad()
    def _track(self, value: Tensor) -> None:
        # A plain mean over the first hundred batches, then an exponential one.
        self.batches += 1
        weight = (1.0 / self.batches).clamp(min=0.01)
        self.running_mean.lerp_(value.to(self.running_mean.dtype), weight.to(self.running_mean.dtype))

    def extra_repr(self) -> str:
        """Return the text for print."""
        return f"group={self.group}"


class PackedCritic(nn.Module):
    """Judges m = `packing` samples together (PacGAN, Lin et al. 2018).

    `critic` takes their channels, or values, side by side: [N, m C, H, W] or [N, m D].
    """

    def __init__(self, critic: nn.Module, packing: int) -> None:
        super().__init__()
        self.critic = critic
        self.packing = packing

    def forward(self, samples: Tensor, labels: Tensor | None = None) -> Tensor | CriticOutput:
        """Map unlabelled samples [N, C, H, W] or [N, D] to scores [N / m], one for each m samples in a row."""
        count = samples.shape[0]
        if count % self.packing:
            fix = f"Use {count + self.packing - count % self.packing} samples"
            raise ValueError(f"--networks.packing {self.packing}: must divide the batch, {count}. {fix}.")
        if labels is not None:
            raise ValueError("labels: a packed critic takes none. Call it without them.")
        packed = samples.reshape(count // self.packing, self.packing * samples.shape[1], *samples.shape[2:])
        return self.critic(packed, None)


def looks_across_batch(critic: nn.Module) -> bool:
    """Return True if, in training, a score depends on the other samples of the batch.

    Batch normalisation, minibatch standard deviation and packing have this effect. A custom critic with another such
    effect sets the attribute `looks_across_batch = True`.
    """
    return any(
        isinstance(module, _BatchNorm | MinibatchStddev | PackedCritic)
        or getattr(module, "looks_across_batch", False) is True
        for module in critic.modules()
    )
