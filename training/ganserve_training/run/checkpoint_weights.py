"""Load weights of a checkpoint into networks, and say in one line where they don't fit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ganserve_training.errors import CheckpointError


def load_weights(network: nn.Module, weights: Any, player: str, checkpoint: Path | str) -> None:
    """Load a network's weights and buffers.

    Args:
        network: The generator or the critic.
        weights: Its part of a checkpoint.
        player: "generator" or "critic".
        checkpoint: The checkpoint's file.

    Raises:
        CheckpointError: The network's class was changed since, or the checkpoint was.
    """
    if problem := _misfit(network.state_dict(), weights):
        raise CheckpointError(
            f"{checkpoint}: doesn't fit the {player} {type(network).__name__}: {problem}. If you changed the class "
            "since it was trained, bring back its code of then, or train in another --out."
        )
    network.load_state_dict(weights)


def _misfit(expected: Mapping[str, Any], found: Any) -> str:
    """Return the first difference between a network's state and a checkpoint's; empty: there is none."""
    if not isinstance(found, Mapping):
        return f"the checkpoint has a {type(found).__name__} in place of weights"
    for name, value in expected.items():
        if name not in found:
            return f"the class has {name}, which the checkpoint lacks"
        if not isinstance(value, Tensor):  # State that a module keeps by `get_extra_state`.
            continue
        if not isinstance(found[name], Tensor):
            return f"the checkpoint has a {type(found[name]).__name__} as {name}"
        if value.shape != found[name].shape:
            return f"{name} is {list(value.shape)} in the class and {list(found[name].shape)} in the checkpoint"
    extra = [name for name in found if name not in expected]
    return f"the checkpoint has {extra[0]}, which the class lacks" if extra else ""
