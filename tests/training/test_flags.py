"""Refusals name flags to who came by the command line."""

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import pytest

import ganserve_training
from ganserve._command_line.options import options_of
from ganserve_training.cli.flags import in_flags
from ganserve_training.config import TrainConfig
from ganserve_training.config.serialisation import flat_config


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("networks.max_width must be left at 256", "--networks.max-width must be left at 256"),
        ("batch_size must be at least 1", "--batch-size must be at least 1"),
        ("the steps of batch_size", "the steps of batch_size"),
        ("set loss.name or data.labels_path.", "set --loss.name or --data.labels-path."),
        ("regularisers.r1_gamma.start: 1 -> 2", "--regularisers.r1-gamma.start: 1 -> 2"),
        ("regularisers.r1_gamma must be 0", "--regularisers.r1-gamma.{start,end} must be 0"),
        (
            "optimisers.{generator,critic}.beta1 must be",
            "--optimisers.{generator,critic}.beta1 must be",
        ),
        ("augmentation.ada.target must", "--augmentation.ada.target must"),
        ("left at 1 without networks.codes", "left at 1 without networks.codes"),
        ("use --data.path", "use --data.path"),
        ("runs/x:\n  batch_size: 1 -> 2\n  seed: 0 -> 1", "runs/x:\n  --batch-size: 1 -> 2\n  --seed: 0 -> 1"),
        ("seeds are", "seeds are"),
        ("photos/data.path and my.data.path are files", "photos/data.path and my.data.path are files"),
        ("data.pathology", "data.pathology"),
    ],
)
def test_fields_become_flags_and_other_words_stay(message: str, told: str) -> None:
    assert in_flags(message, options_of(TrainConfig)) == told


REFUSING = ("expect", "expect_not_negative", "expect_seed", "ConfigError", "DataError", "DivergedError")
GROUPS = [name for name, hint in get_type_hints(TrainConfig).items() if dataclasses.is_dataclass(hint)]
FIELDS = {path.rpartition(".")[2] for path in flat_config(TrainConfig())}


def refusals() -> Iterator[tuple[str, str]]:
    """Where each piece of text stands that is part of a refusal, and the text."""
    root = Path(ganserve_training.__file__).parent
    for file in root.rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in REFUSING:
                for part in ast.walk(call):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield f"{file.relative_to(root)}:{part.lineno}", part.value


def test_refusals_name_fields_by_their_whole_path_so_that_they_become_flags() -> None:
    """As far as words show that a field is meant: by an underscore, or by a group's name before a dot."""
    texts = list(refusals())
    assert len(texts) > 300
    bare = r"(?<![\w./-])[a-z]+_\w+"
    assert [item for item in texts if {*re.findall(bare, item[1])} & FIELDS and " " in item[1]] == []
    vague = rf"(?<![\w./-])(?:{'|'.join(GROUPS)})\.(?:\*|(?:codes|ada|gradient_penalty)(?!\.))"
    assert [item for item in texts if re.search(vague, item[1]) and " " in item[1]] == []
