"""Networks: pairs of a generator and a critic, by name.

A generator maps latents [N, Z] and labels int64 [N], or None, to samples: images [N, C, H, W] in about [-1, 1], or
standardised vectors [N, D]. A critic maps samples and labels to scores [N], or to a `CriticOutput` if it has other
heads. In eval mode neither draws random numbers, and only a packed critic scores several samples together.
"""

from ganserve_training.networks.batch_statistics import MinibatchStddev, PackedCritic, looks_across_batch
from ganserve_training.networks.build import NetworkPair, build_networks
from ganserve_training.networks.critic_output import CriticOutput, as_output
