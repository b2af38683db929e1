"""Suggest options for each kind of finding, but only those that `ganserve train` would accept for this run.

A remedy is a phrase with a place for flags, and new values by their path. Values that differ from the run's own become
flags. A remedy that changes nothing, or that training would refuse, is left out.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from ganserve_training.config.data_rules import learning_rate
from ganserve_training.config.serialisation import changed_config, flat_config
from ganserve_training.config.train import TrainConfig
from ganserve_training.data.sample_info import DataInfo
from ganserve_training.diagnosis.cures import calmer
from ganserve_training.diagnosis.findings import Kind
from ganserve_training.errors import ConfigError
from ganserve_training.options.anneal import Anneal
from ganserve_training.options.checks import flag

_Remedies = Iterator[tuple[str, dict[str, Any]]]
_RATES = ("optimisers.generator.learning_rate", "optimisers.critic.learning_rate")
_GAMMAS = ("regularisers.r1_gamma", "regularisers.r2_gamma")
_ON = Anneal.constant(1.0)
_NOISE = {"augmentation.instance_noise": Anneal(start=0.3, end=0.0)}


def advise(kind: Kind, config: TrainConfig, data: DataInfo, check: Callable[[TrainConfig], None]) -> str:
    """Return one or two sentences that name what this run has not tried yet.

    `check` raises ConfigError for a configuration with which the run could not start.
    """
    tries = [_UNFLAGGED[kind]] if kind in _UNFLAGGED else []
    if kind == "idle-critic" and config.networks.architecture == "custom":
        tries.append("a critic that gives the logit, and whose weights get gradients")
    for words, settings in _REMEDIES[kind](config, data):
        changes = _changes(config, settings)
        if not changes:
            continue
        with suppress(ConfigError):
            check(changed_config(config, changes))
            tries.append(words.format(" ".join(_flag(path, value) for path, value in changes.items())))
    kept = _KEPT[kind] if kind in _KEPT and config.diagnosis.keep_best else ""
    if not tries:
        return kept or "This run uses every remedy that ganserve knows for it: try stronger values."
    if len(tries) > 1:
        tries[-1] = f"or {tries[-1]}"
    return f"{kept} For another run, try {', '.join(tries)}.".lstrip()


def _vanishing_gradients(config: TrainConfig, _: DataInfo) -> _Remedies:
    generator = config.optimisers.generator.learning_rate
    if config.loss.name == "minimax":
        yield "{}, which does not saturate", {"loss.name": "modified-minimax"}
    if config.loss.name != "wasserstein":
        yield "{}", {"schedule.critic_steps": 1}
    if config.optimisers.critic.learning_rate.start > generator.start:
        yield "a critic that learns no faster than the generator ({})", {_RATES[1]: generator}
    yield from _penalty(config)
    yield from _noise(config)


def _no_progress(config: TrainConfig, _: DataInfo) -> _Remedies:
    yield "learning rates of 1e-4 to 1e-3 ({})", dict.fromkeys(_RATES, Anneal.constant(3e-4))
    yield "a tenth of the penalties ({})", _scaled(config, 0.1, *_GAMMAS)
    yield "ten times the bound of the critic's weights ({})", _scaled(config, 10.0, "regularisers.weight_clip")


def _idle_critic(config: TrainConfig, data: DataInfo) -> _Remedies:
    usual = learning_rate(data)
    if config.optimisers.critic.learning_rate.start < usual:
        yield "a critic that learns faster ({})", {_RATES[1]: Anneal.constant(usual)}
    yield "a tenth of the penalties ({})", _scaled(config, 0.1, *_GAMMAS)
    yield "ten times the bound of the critic's weights ({})", _scaled(config, 10.0, "regularisers.weight_clip")


def _calmer(config: TrainConfig, data: DataInfo) -> _Remedies:
    yield "calmer players ({})", calmer(config, data)


def _mode_collapse(config: TrainConfig, data: DataInfo) -> _Remedies:
    yield from _calmer(config, data)
    yield from _variety(config)


def _variety(config: TrainConfig) -> _Remedies:
    gammas = (config.regularisers.r1_gamma, config.regularisers.r2_gamma)
    off = [path for path, gamma in zip(_GAMMAS, gammas, strict=True) if gamma.most == 0.0]
    if off or config.loss.name != "relativistic-pairing":
        yield "{}", {"loss.name": "relativistic-pairing", **dict.fromkeys(off, _ON)}
    if config.schedule.unrolled_steps == 0:
        yield "{}", {"schedule.unrolled_steps": 5}
    if config.networks.packing == 1:
        yield "{}", {"networks.packing": 2}
    if config.networks.minibatch_stddev_group == 0:
        yield "{}", {"networks.minibatch_stddev_group": 4}


def _low_precision(config: TrainConfig, _: DataInfo) -> _Remedies:
    yield from _wider(config)
    yield from _penalty(config)


def _low_recall(config: TrainConfig, _: DataInfo) -> _Remedies:
    yield from _variety(config)
    yield from _wider(config)


def _wider(config: TrainConfig) -> _Remedies:
    now = flat_config(config)
    paths: tuple[str, ...] = ("networks.generator_width", "networks.critic_width")
    widths = {path: 2 * now[path] for path in paths if path in now}
    yield "wider networks ({})", widths


def _ignored_labels(config: TrainConfig, _: DataInfo) -> _Remedies:
    yield "a critic that classifies ({})", {"networks.critic_conditioning": "classifier"}
    yield "{}", {"networks.generator_conditioning": "concatenation"}
    yield from _penalty(config)


def _oscillation(config: TrainConfig, _: DataInfo) -> _Remedies:
    yield "half the learning rates ({})", _scaled(config, 0.5, *_RATES)
    yield "no momentum ({})", {"optimisers.critic.beta1": 0.0, "optimisers.generator.beta1": 0.0}
    yield from _penalty(config)
    yield from _noise(config)


def _critic_overfitting(config: TrainConfig, data: DataInfo) -> _Remedies:
    shift: dict[str, Any] = {}
    if data.is_image and not config.augmentation.on_samples:
        shift = {"augmentation.translation_px": max(1, data.width // 8)}
        yield "augmentation that the generator does not learn ({})", shift
    if config.augmentation.ada.target == 0.0 and config.loss.has_zero:
        yield "augmentation with a controller ({})", {**shift, "augmentation.ada.target": 0.6}
    yield from _penalty(config)
    if config.regularisers.r1_gamma.most > 0.0:
        yield "a larger penalty ({})", _scaled(config, 10.0, _GAMMAS[0])
    options = flat_config(config)
    width, group = options.get("networks.critic_width", 0), options.get("networks.group_size", 1)
    if width and width % group == 0:
        yield "a smaller critic ({})", {"networks.critic_width": max(1, width // 2)}


def _divergence(config: TrainConfig, _: DataInfo) -> _Remedies:
    penalties = config.regularisers
    free = penalties.weight_clip == penalties.gradient_penalty.weight == 0.0
    if config.loss.name == "wasserstein" and free and config.networks.spectral_norm == "off":
        penalty = {"regularisers.gradient_penalty.weight": 10.0}
        yield "a gradient penalty, which keeps a Wasserstein critic Lipschitz ({})", penalty
    yield "half the learning rates ({})", _scaled(config, 0.5, *_RATES)
    if max(penalties.r1_gamma.most, penalties.r2_gamma.most) > 0.0:
        yield "ten times the penalties ({})", _scaled(config, 10.0, *_GAMMAS)
    elif config.loss.name != "wasserstein":
        yield "{}", dict.fromkeys(_GAMMAS, _ON)


def _convergence(config: TrainConfig, _: DataInfo) -> _Remedies:
    yield "{}, which keeps the best checkpoint", {"diagnosis.keep_best": True}
    if not config.diagnosis.patience:
        yield "{}, which stops a run whose quality declines", {"diagnosis.patience": 10}


def _decline(config: TrainConfig, data: DataInfo) -> _Remedies:
    rates = (config.optimisers.generator.learning_rate, config.optimisers.critic.learning_rate)
    falling = [Anneal(start=rate.start, end=_rounded(min(rate.start, rate.end) / 10.0)) for rate in rates]
    yield "learning rates that fall further ({})", dict(zip(_RATES, falling, strict=True))
    yield from _convergence(config, data)


_REMEDIES: dict[Kind, Callable[[TrainConfig, DataInfo], _Remedies]] = {
    "vanishing-gradients": _vanishing_gradients,
    "no-progress": _no_progress,
    "idle-critic": _idle_critic,
    "winning-critic": _calmer,
    "mode-collapse": _mode_collapse,
    "ignored-labels": _ignored_labels,
    "low-precision": _low_precision,
    "low-recall": _low_recall,
    "oscillation": _oscillation,
    "critic-overfitting": _critic_overfitting,
    "divergence": _divergence,
    "convergence": _convergence,
    "decline": _decline,
}
_UNFLAGGED: dict[Kind, str] = {
    "critic-overfitting": "more data",
    "low-precision": "more steps",
    "low-recall": "more steps",
}
_KEPT: dict[Kind, str] = {
    "convergence": "GANs rarely stay converged: checkpoints/best-*.pt keeps the best step so far.",
    "decline": "Use checkpoints/best-*.pt, which keeps the best step.",
}


def _penalty(config: TrainConfig) -> _Remedies:
    if config.regularisers.r1_gamma.most == 0.0:
        yield "{}", {_GAMMAS[0]: _ON}


def _noise(config: TrainConfig) -> _Remedies:
    if config.augmentation.instance_noise.most == 0.0:
        yield "noise that fades ({})", _NOISE


def _scaled(config: TrainConfig, factor: float, *paths: str) -> dict[str, Any]:
    """Return the values at these paths, and at the paths below them, times `factor`."""
    return {
        path: _rounded(value * factor)
        for path, value in flat_config(config).items()
        if path.removesuffix(".start").removesuffix(".end") in paths
    }


def _rounded(value: float) -> float:
    """Round a value to the digits that its flag shows."""
    return float(f"{value:g}")


def _changes(config: TrainConfig, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that differ from the configuration; an annealed one counts as two."""
    flat: dict[str, Any] = {}
    for path, value in settings.items():
        parts = {f"{path}.{end}": part for end, part in asdict(value).items()} if isinstance(value, Anneal) else None
        flat |= parts or {path: value}
    now = flat_config(config)
    return {path: value for path, value in flat.items() if now.get(path) != value}


def _flag(path: str, value: object) -> str:
    if value is True:
        return flag(path)
    return f"{flag(path)} {value:g}" if isinstance(value, float) else f"{flag(path)} {value}"
