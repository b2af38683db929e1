"""Networks: pairs of a generator and a critic, by name.

Every generator is called as ``generator(latents [N, Z], labels int64 [N] | None) -> images [N, C, H, W]`` in about
[-1, 1], every critic as ``critic(images [N, C, H, W], labels) -> scores [N]``. In eval mode neither draws random
numbers.
"""

from ganserve_training.networks.registry import NetworkPair, build_networks

__all__ = ["NetworkPair", "build_networks"]
