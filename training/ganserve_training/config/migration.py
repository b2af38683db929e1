"""Read configurations that earlier versions wrote: in runs' config.json, in checkpoints and in packages' manifests.

Until 2026-11 a configuration had the options of all architectures, sources, losses and optimisers. Unused options had
the values of `_UNUSED`. Growth had a separate table, `progressive`.
"""

import operator
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ganserve_training.config.choices import CHOICES
from ganserve_training.config.train import TrainConfig
from ganserve_training.errors import ConfigError

_OPTIMISER = {"beta2": {"start": 0.99, "end": 0.99}}
_UNUSED: dict[str, dict[str, Any]] = {
    "networks": {
        "generator_class": "",
        "critic_class": "",
        "label_embedding_dim": 32,
        "generator_width": 32,
        "critic_width": 32,
        "max_width": 256,
        "generator_layers": 3,
        "critic_layers": 3,
        "generator_activation": "leaky-relu",
        "critic_activation": "leaky-relu",
        "maxout_pieces": 5,
        "generator_norm": "auto",
        "critic_norm": "auto",
        "blocks_per_level": 1,
        "group_size": 16,
        "spectral_norm": "off",
        "minibatch_stddev_group": 0,
        "fade_kimg": 600.0,
        "stable_kimg": 600.0,
        "batch_sizes": [],
    },
    "data": {
        "path": None,
        "labels_path": None,
        "image_column": "image",
        "label_column": "label",
        "size": None,
        "crop": "center",
        "channels": "auto",
        "flip": False,
        "class_balanced": False,
        "on_bad_file": "fail",
        "count": None,
    },
    "loss": {"label_smoothing": 0.0},
    "optimisers.generator": _OPTIMISER,
    "optimisers.critic": _OPTIMISER,
}


def migrated(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration's dictionary, of the present or an earlier form, in the present form."""
    new = {"on_trouble": "continue", **values}  # Runs from before the option must not change their course.
    if isinstance(growth := new.pop("progressive", None), Mapping):
        new["networks"] = {**growth, **new.get("networks", {})}
    for path in CHOICES:
        group, _, player = path.rpartition(".")[0].partition(".")
        if not isinstance(new.get(group), Mapping):
            continue
        if not player:
            new[group] = _without_unused(new[group], path)
        elif isinstance(new[group].get(player), Mapping):
            new[group] = {**new[group], player: _without_unused(new[group][player], path)}
    return new


def _without_unused(part: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return a part's dictionary without the unused options that its class does not have."""
    chosen, _, key = path.rpartition(".")
    default = operator.attrgetter(path)(TrainConfig())
    try:
        known = {item.name for item in fields(CHOICES[path].kind(part.get(key, default), path))}
    except ConfigError:  # `build` reports the unknown name.
        return dict(part)
    unused = _UNUSED[chosen]
    return {
        name: value
        for name, value in part.items()
        if name in known or name not in unused or (list(value) if isinstance(value, tuple) else value) != unused[name]
    }
