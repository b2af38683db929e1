"""docs/training.md names flags that exist, and forgets none of the game's."""

import dataclasses
import itertools
import re
from pathlib import Path
from typing import ClassVar, get_origin, get_type_hints

from ganserve_training.config import TrainConfig
from ganserve_training.objectives.losses import LOSSES
from ganserve_training.run.optimisers import OPTIMISERS

TEXT = (Path(__file__).parents[2] / "docs" / "training.md").read_text()


def flags_of(kind: type, prefix: str = "--") -> set[str]:
    """All flags of all architectures, sources, losses and optimisers, and their tables' names."""
    found = set()
    for name, hint in get_type_hints(kind).items():
        if get_origin(hint) is ClassVar or hint is ClassVar:
            continue
        flag = prefix + name.replace("_", "-")
        found.add(flag)
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            registry = vars(hint).get("registry")
            for part in [hint] if registry is None else [registry[item] for item in registry.names]:
                found |= flags_of(part, flag + ".")
            found |= {f"{flag}.{registry.key}"} if registry is not None else set()
    return found - {"--regularisers.more"}


def named() -> set[str]:
    """The flags of the text, with braces written out."""
    flags = set()
    for match in re.finditer(r"--[a-z][a-z0-9.{},-]*[a-z0-9}]", TEXT):
        pieces = [piece.split(",") for piece in re.split(r"[{}]", match.group())]
        flags |= {"".join(choice) for choice in itertools.product(*pieces)}
    return flags - {"--help", "--out", "--processes", "--threads", "--nnodes", "--nproc-per-node"}


def test_every_flag_exists() -> None:
    assert named() - flags_of(TrainConfig) == set()


def test_no_option_of_the_game_is_forgotten() -> None:
    tables = ("--loss.", "--regularisers.", "--augmentation.", "--ema.", "--schedule.")
    leaves = {flag for flag in flags_of(TrainConfig) if flag.startswith(tables)}
    leaves = {flag for flag in leaves if not any(other.startswith(flag + ".") for other in leaves)}
    assert leaves - named() == set()
    for name in (*LOSSES.names, *OPTIMISERS.names):
        assert f"`{name}`" in TEXT
