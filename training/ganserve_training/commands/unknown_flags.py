"""Refuse unknown flags of `ganserve train` at once, without loading PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

from ganserve._command_framework.options import UsageError
from ganserve._command_framework.parsing import app_of, parse
from ganserve_training.commands.listed_options import is_complete, is_listed, preset_options

_RATES = "--optimisers.generator.learning-rate.start and --optimisers.critic.learning-rate.start"
_STEPS = "--steps, which counts updates: epochs * samples / --batch-size"
_GPUS = "--device cuda; to share each batch among 4 GPUs, add --processes 4"
_FAMILIAR = {
    **dict.fromkeys(("--lr", "--learning-rate"), _RATES),
    **dict.fromkeys(("--epochs", "--epoch", "--num-epochs", "--iterations", "--kimg"), _STEPS),
    **dict.fromkeys(("--batch", "--bs", "--batchsize"), "--batch-size"),
    **dict.fromkeys(("--data-dir", "--dataroot", "--dataset", "--data-path", "--input"), "--data"),
    **dict.fromkeys(("--gpu", "--gpus", "--cuda", "--num-gpus"), _GPUS),
    **dict.fromkeys(("--output", "--out-dir", "--outdir", "--output-dir", "--save-dir"), "--out"),
    **dict.fromkeys(("--resolution", "--image-size", "--img-size"), "--data.size"),
    **dict.fromkeys(("--fp16", "--amp", "--bf16"), "--precision bfloat16"),
    "--resume": "the same command as before: it continues the run of --out",
    "--cpu": "--device cpu",
}
"""Options of other programs that people try first, and what to use here."""


def refuse_unknown(preset: str, words: Sequence[str]) -> None:
    """Raise UsageError for a flag that no preset has, whatever architecture, loss or data are chosen."""
    for word in words:
        name = word.partition("=")[0].replace("_", "-").replace("--progressive.", "--networks.")
        if name in _FAMILIAR:
            raise UsageError(f"{name}: no such option. Use {_FAMILIAR[name]}.")
        if name.startswith("--") and name != "--" and not is_listed(name) and is_complete():
            parse(app_of(f"ganserve train {preset}", preset_options(preset)), [word])
