"""Fit a preset's values to other data, and say what changed. A value that the user gave stays.

docs/data-rules.md describes the rules.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ganserve_training.config.adjustments import RULES, Case
from ganserve_training.config.serialisation import changed_config, flat_config
from ganserve_training.config.train import TrainConfig
from ganserve_training.data.sample_info import DataInfo

DATA_PATHS = frozenset(
    {"batch_size", "data.source", "data.path", "data.size", "data.channels", "data.count", "data.labels"}
)
"""Options that make the data other than a preset's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """A configuration that was fitted to data."""

    config: TrainConfig
    values: dict[str, Any]
    """The values that followed the data, by path."""
    lines: tuple[str, ...]
    """Values that followed the data, and why: one line for each rule."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """The way from a preset to the configuration of a run on other data."""

    preset: TrainConfig
    given: frozenset[str]
    """Paths of the values that the user gave, such as "regularisers.r1_gamma.start". They stay."""

    def to_data(self, config: TrainConfig, data: DataInfo, samples: int, extremes: float = 0.0) -> Fitted:
        """Return `config` fitted to these data: `fit_to_data` has the arguments."""
        return fit_to_data(config, data, samples, preset=self.preset, given=self.given, extremes=extremes)

    def resumed(self, config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
        """Return `config` with the values that followed the data when its run began, without those given now."""
        return changed_config(config, {path: value for path, value in values.items() if path not in self.given})


def fit_to_data(
    config: TrainConfig,
    data: DataInfo,
    samples: int,
    *,
    preset: TrainConfig | None = None,
    given: Collection[str] | None = None,
    extremes: float = 0.0,
) -> Fitted:
    """Return `config` with the values that follow from the data.

    Args:
        config: The configuration of a preset, with the options that the user gave.
        data: Shape of a sample, and the labels.
        samples: Number of training samples.
        preset: The preset, whose steps, burn-in, batch size and average belong together. None: `config`.
        given: Paths of values that stay. None: those in which `config` differs from the preset.
        extremes: Share of the values of images that are exactly black or white, 0 to 1.
    """
    preset = preset or config
    if given is None:
        before = flat_config(preset)
        given = [path for path, value in flat_config(config).items() if before.get(path) != value]
    kept = frozenset(given)
    values: dict[str, Any] = {}
    lines: list[str] = []
    for rule in RULES:
        case = Case(config=config, preset=preset, data=data, samples=samples, given=kept, extremes=extremes)
        for found in rule(case):
            now = flat_config(config)
            differ = {path: value for path, value in found.changes.items() if path in now and now[path] != value}
            changes = {path: value for path, value in differ.items() if path not in kept}
            if changes:
                fitted = changed_config(config, changes)
                lines.append(f"{found.what} {found.show(fitted)} instead of {found.show(config)}, {found.why}")
                config, values = fitted, values | changes
    return Fitted(config=config, values=values, lines=tuple(lines))
