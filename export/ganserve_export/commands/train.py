"""The command `ganserve train`: train a GAN; resumes after an interruption.

It is training's command, which here also exports custom networks for a trial. Training does not use ONNX, so the two
meet here. Without the extra `export`, the trial is left out.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from ganserve_training.commands import train as train_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ganserve_training.config import TrainConfig
    from ganserve_training.data import DataInfo
    from ganserve_training.networks import NetworkPair


def _try_export(config: TrainConfig, pair: NetworkPair, data: DataInfo) -> list[str]:
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")):
        return []
    from ganserve_export.from_run.export_trial import try_export

    return try_export(config, pair, data)


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    train_command.before_training(_register)
    return train_command.main(argv)


def _register() -> None:
    from ganserve_training.run.network_questions import register_export_trial

    register_export_trial(_try_export)


COMMAND = train_command.COMMAND
