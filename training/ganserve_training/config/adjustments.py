"""Say to which configurations each rule of `data_rules` applies, what it changes there, and why."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ganserve_training.config import data_rules as rules
from ganserve_training.config.serialisation import anneals, flat_config
from ganserve_training.config.train import TrainConfig
from ganserve_training.data.sample_info import DataInfo
from ganserve_training.errors import ConfigError
from ganserve_training.networks.blocks import resolution_levels
from ganserve_training.networks.growth import Growth, GrowthConfig
from ganserve_training.options.anneal import Anneal


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """Facts that a rule reads."""

    config: TrainConfig
    """The configuration as the rules before have left it."""
    preset: TrainConfig
    data: DataInfo
    samples: int
    """Number of training samples."""
    given: frozenset[str]
    """Paths of the values that the user gave."""
    extremes: float = 0.0
    """Share of the values of images that are exactly black or white."""

    @property
    def pixels(self) -> str:
        """Return the size of an image in words."""
        return f"for {self.data.height} x {self.data.width} pixels"

    @property
    def values(self) -> str:
        """Return the size and the channels of an image in words."""
        channels = self.data.channels
        return self.pixels if channels == 1 else f"{self.pixels} of {channels} channels"


@dataclass(frozen=True, kw_only=True, slots=True)
class Adjustment:
    """Values that a rule gives, and the words about them."""

    what: str
    why: str
    show: Callable[[TrainConfig], str]
    """Returns the values of a configuration in words."""
    changes: dict[str, Any]
    """The values by path; they may be those that the configuration has, and lack in it."""


_SCALED_GAMMA = {"r3gan": "relativistic-pairing", "stylegan2": "modified-minimax"}
"""Architectures whose presets' R1 and R2 scale with pixels and batch, and the loss for which they do."""
_BOUNDED_BY_TANH = ("progressive", "r3gan", "stylegan2")
"""Architectures without bounds on the generator's images, for which tanh was measured."""
Rule = Callable[[Case], Iterator[Adjustment]]


def conditioning(case: Case) -> Iterator[Adjustment]:
    """Leave labels out of networks for data that have none."""
    networks = case.config.networks
    ways = {name: getattr(networks, name) for name in ("generator_conditioning", "critic_conditioning")}
    if not case.data.label_names and not networks.codes.any:
        yield Adjustment(
            what="networks: use of labels",
            why="for data without labels",
            show=lambda now: f"{now.networks.generator_conditioning} and {now.networks.critic_conditioning}",
            changes={f"networks.{name}": "auto" for name, way in ways.items() if way != "none"},
        )


def latents(case: Case) -> Iterator[Adjustment]:
    """Give fully connected networks enough latents."""
    if case.config.networks.architecture == "mlp":
        values = math.prod(case.data.sample_shape)
        yield Adjustment(
            what="networks: latents of length",
            why=f"for samples of {values} values",
            show=lambda now: str(now.networks.latent_dim),
            changes={"networks.latent_dim": rules.latent_dim(case.config.networks.latent_dim, values)},
        )


def widths(case: Case) -> Iterator[Adjustment]:
    """Widen the small levels of networks for large images."""
    width = flat_config(case.config).get("networks.max_width")
    if case.data.is_image and width is not None:
        yield Adjustment(
            what="networks: widths of at most",
            why=case.pixels,
            show=lambda now: f"{flat_config(now)['networks.max_width']} channels",
            changes={"networks.max_width": rules.largest_width(width, case.data)},
        )


def bounds(case: Case) -> Iterator[Adjustment]:
    """Bound the generator's images, for pictures with much exact black or white."""
    if case.config.networks.architecture in _BOUNDED_BY_TANH and case.extremes >= rules.MANY_EXTREMES:
        yield Adjustment(
            what="networks: output activation",
            why=f"for pictures of which {case.extremes:.0%} is exactly black or white",
            show=lambda now: str(flat_config(now)["networks.output_activation"]),
            changes={"networks.output_activation": "tanh"},
        )


def levels(case: Case) -> Iterator[Adjustment]:
    """Give each level of a growing network a batch size."""
    sizes, level = case.config.networks.batch_sizes, _last_level(case.data)
    if sizes and level is not None:
        yield Adjustment(
            what="networks: batch sizes",
            why=case.pixels,
            show=lambda now: " ".join(map(str, now.networks.batch_sizes)),
            changes={"networks.batch_sizes": rules.level_batch_sizes(sizes, level + 1)},
        )


def groups(case: Case) -> Iterator[Adjustment]:
    """Divide the batch into groups for the minibatch standard deviation."""
    config = case.config
    group = config.networks.minibatch_stddev_group
    if group and not config.networks.batch_sizes:
        scored = config.batch_size // (config.accumulate_batches * config.networks.packing)
        yield Adjustment(
            what="networks: groups for the minibatch standard deviation of",
            why=f"for {scored} samples at a time",
            show=lambda now: str(now.networks.minibatch_stddev_group),
            changes={"networks.minibatch_stddev_group": rules.stddev_group(group, scored)},
        )


def steps(case: Case) -> Iterator[Adjustment]:
    """Make a run long enough for its batches, and for networks that grow."""
    config, preset, level = case.config, case.preset, _last_level(case.data)
    least, why = config.steps, ""
    if config.batch_size != preset.batch_size:
        least = rules.steps_for_batch(config.steps, preset.batch_size, config.batch_size)
        why = f"for batches of {config.batch_size} instead of {preset.batch_size}"
    if isinstance(config.networks, GrowthConfig) and config.networks.grows and level is not None:
        growth = Growth(config.networks, level, config.batch_size)
        grown = rules.steps_for_growth(growth.steps_until_grown(config.schedule.critic_steps))
        if grown > least:
            least, why = grown, f"to grow to {4 << level} x {4 << level} pixels"
    yield Adjustment(what="steps:", why=why, show=lambda now: f"{now.steps:,}", changes={"steps": least})


def burn_in(case: Case) -> Iterator[Adjustment]:
    """Let values change over the same share of a run, if its length followed the data."""
    config, preset = case.config, case.preset
    before = preset.schedule.burn_in_steps
    if "steps" not in case.given and before <= preset.steps and anneals(config):
        yield Adjustment(
            what="schedule: burn-in of",
            why=f"for {config.steps:,} steps",
            show=lambda now: f"{now.schedule.burn_in_steps:,} steps",
            changes={"schedule.burn_in_steps": rules.burn_in_steps(before, preset.steps, config.steps)},
        )


def average(case: Case) -> Iterator[Adjustment]:
    """Average weights over the same share of the samples, if their number followed the data."""
    config, preset = case.config, case.preset
    shown, before = config.steps * config.batch_size, preset.steps * preset.batch_size
    half_life = preset.ema.half_life_kimg
    if "steps" not in case.given and shown != before and half_life:
        yield Adjustment(
            what="ema: half-life of",
            why=f"for {shown:,} samples shown",
            show=lambda now: f"{now.ema.half_life_kimg:g} thousand samples",
            changes={"ema.half_life_kimg": rules.ema_half_life_kimg(half_life, before, shown)},
        )


def penalties(case: Case) -> Iterator[Adjustment]:
    """Weigh R1 and R2 by the size of images, for architectures and losses where it was measured."""
    config, preset, data = case.config, case.preset, case.data
    architecture = config.networks.architecture
    scales = architecture == preset.networks.architecture and architecture in _SCALED_GAMMA
    if not data.is_image or config.loss.name != _SCALED_GAMMA.get(architecture, "relativistic-pairing"):
        return
    changes: dict[str, Any] = {}
    for name in ("r1_gamma", "r2_gamma"):
        gamma = getattr(config.regularisers, name)
        if architecture in ("convolutional", "dcgan"):
            changes |= _moved(f"regularisers.{name}", gamma, rules.penalty_gamma(data, config.batch_size))
        elif scales:
            before = getattr(preset.regularisers, name).start
            start = rules.scaled_gamma(before, _side(preset), preset.batch_size, data, config.batch_size)
            changes |= _moved(f"regularisers.{name}", gamma, start)
    yield Adjustment(
        what="regularisers: R1 and R2 gamma",
        why=f"{case.values} and batches of {config.batch_size}",
        show=lambda now: _both(now.regularisers.r1_gamma, now.regularisers.r2_gamma),
        changes=changes,
    )


def learning_rates(case: Case) -> Iterator[Adjustment]:
    """Choose Adam's step sizes by the size of images, for plain convolutions with relativistic pairing."""
    config = case.config
    plain = config.networks.architecture in ("convolutional", "dcgan")
    measured = plain and config.loss.name == "relativistic-pairing"
    if not (case.data.is_image and measured):
        return
    rate, players = rules.learning_rate(case.data), config.optimisers
    changes: dict[str, Any] = {}
    for name, player in (("generator", players.generator), ("critic", players.critic)):
        if player.name == "adam":
            changes |= _moved(f"optimisers.{name}.learning_rate", player.learning_rate, rate)
    yield Adjustment(
        what="optimisers: learning rates",
        why=case.pixels,
        show=lambda now: _both(now.optimisers.generator.learning_rate, now.optimisers.critic.learning_rate),
        changes=changes,
    )


def augmentation(case: Case) -> Iterator[Adjustment]:
    """Shift images before the critic sees them, if it would memorise so few, or the preset shifts them."""
    shift = case.preset.augmentation.translation_px
    if shift and case.config.augmentation.translation_px == shift and case.data.is_image:
        yield Adjustment(
            what="augmentation: shifts of up to",
            why=case.pixels,
            show=lambda now: _counted(now.augmentation.translation_px, "pixel"),
            changes={"augmentation.translation_px": rules.scaled_shift(shift, _side(case.preset), case.data)},
        )
    elif not case.config.augmentation.on_samples:
        yield Adjustment(
            what="augmentation: shifts of up to",
            why=f"for {_counted(case.samples, 'sample')}",
            show=lambda now: (
                _counted(now.augmentation.translation_px, "pixel") if now.augmentation.on_samples else "none"
            ),
            changes={"augmentation.translation_px": rules.shift_px(case.data, case.samples)},
        )


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


RULES: tuple[Rule, ...] = (
    conditioning,
    latents,
    widths,
    bounds,
    levels,
    groups,
    steps,
    burn_in,
    average,
    penalties,
    learning_rates,
    augmentation,
)
"""All rules, in the order in which they apply: some use what those before them gave."""


def _moved(path: str, value: Anneal, start: float) -> dict[str, float]:
    """Return new ends of a value that starts at `start` and changes by the same factor; nothing if it is off."""
    if not value.start:
        return {}
    return {f"{path}.start": start, f"{path}.end": float(f"{start * value.end / value.start:.2g}")}


def _side(preset: TrainConfig) -> int:
    """Return the side of the images of a preset."""
    side: int = preset.data.size  # type: ignore[attr-defined]
    return side


def _both(first: Anneal, second: Anneal) -> str:
    return str(first) if first == second else f"{first} and {second}"


def _last_level(data: DataInfo) -> int | None:
    """Return the last level of networks that grow to these images; None: they can't."""
    try:
        return resolution_levels((data.channels, data.height, data.width)) if data.is_image else None
    except ConfigError:
        return None
