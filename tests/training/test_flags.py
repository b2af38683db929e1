"""Refusals name flags to who came by the command line."""

import pytest

from ganserve_training.config import TrainConfig
from ganserve_training.flags import in_flags


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
        ("photos/data.path and my.data.path are files", "photos/data.path and my.data.path are files"),
        ("data.pathology", "data.pathology"),
    ],
)
def test_fields_become_flags_and_other_words_stay(message: str, told: str) -> None:
    assert in_flags(message, TrainConfig) == told
