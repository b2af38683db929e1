"""Networks: pairs of a generator and a critic, by name.

Every generator is called as `generator(latents [N, Z], labels int64 [N] | None) -> samples` in about [-1, 1] for
images [N, C, H, W], standardised for vectors [N, D]; every critic as `critic(samples, labels) -> scores [N]`, or a
`CriticOutput` where it has other heads. In eval mode neither draws random numbers, and each sample is scored
alone (but by a packed critic).
"""

from ganserve_training.networks.batch_statistics import MinibatchStddev, PackedCritic, looks_across_batch
from ganserve_training.networks.build import NetworkPair, build_networks
from ganserve_training.networks.critic_output import CriticOutput, as_output

__all__ = [
    "CriticOutput",
    "MinibatchStddev",
    "NetworkPair",
    "PackedCritic",
    "as_output",
    "build_networks",
    "looks_across_batch",
]
