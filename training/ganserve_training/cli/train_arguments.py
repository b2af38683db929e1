"""The options of `ganserve train`: those of a preset, and those that other choices bring."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from ganserve._command_line.help import HELP, entries, help_text
from ganserve._command_line.options import Option, UsageError, build, flag, options_of
from ganserve._command_line.parsing import parse
from ganserve_training.config import TrainConfig, allowed_choices, with_choices
from ganserve_training.config.choices import misplaced
from ganserve_training.config.fitting import DATA_PATHS, Fit
from ganserve_training.config.serialisation import anneals
from ganserve_training.errors import ConfigError
from ganserve_training.networks.growth import GrowthConfig
from ganserve_training.options.checks import refusal
from ganserve_training.presets import PRESETS

_FIRST = (
    *("out", "steps", "batch_size", "device", "precision", "seed", "processes", "json"),
    *("data", "data.source", "data.path", "data.size", "data.labels"),
    *("networks.architecture", "networks.latent_dim", "networks.generator_width", "networks.critic_width"),
    *("loss.name", "optimisers.generator.learning_rate.start", "optimisers.critic.learning_rate.start"),
)
"""Options of the short help."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainArguments:
    """Train a GAN, or resume an interrupted run: the same command continues from the newest checkpoint."""

    config: TrainConfig = flag(flat=True)
    """The preset's values, each of which a flag replaces."""
    out: Path = flag(aliases=("-o",), folder=True)
    """The run's folder. An existing run is resumed."""
    data: str | None = flag(None, metavar="PATH|SOURCE")
    """Your data: a folder, a file or a zip archive, whose source is recognised; or a source, such as digits. Short for
    --data.source with --data.path."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to train on; auto takes a GPU if torch can use one."""
    threads: int | None = None
    """CPU threads of each process; one for images up to 16 x 16 pixels, else all cores, at most 8, shared evenly."""
    processes: int = 1
    """Processes on this machine that share each batch, each with its own GPU if there are any; torchrun does
    the same over several machines."""
    json: bool = False
    """Print the result as one JSON object; progress still goes to stderr."""
    fit: Fit | None = flag(None, flag=False)
    """Rules by which the preset's values follow other data; None: the data are the preset's."""


def read_arguments(argv: Sequence[str]) -> TrainArguments:
    """Read the command's arguments, the preset first; raise UsageError or, for contradictions, ConfigError."""
    preset, *words = argv
    words = [word.replace("--progressive.", "--networks.") for word in words]  # Their name until 2026-11.
    words = _with_data(words)
    defaults = _defaults(preset, _chosen(preset, words))
    for word in words:
        if error := misplaced(defaults.config, word.partition("=")[0]):
            raise error
    given = parse(options_of(TrainArguments, defaults), words, f"ganserve train {preset}")
    arguments: TrainArguments = build(defaults, given)
    paths = frozenset(".".join(path[1:]) for path in given if path[0] == "config")
    _check_given(paths, arguments.config)
    return replace(arguments, fit=Fit(preset=PRESETS[preset], given=paths)) if paths & DATA_PATHS else arguments


def _with_data(words: Sequence[str]) -> list[str]:
    """Return the arguments with --data as the options that it is short for.

    Raises:
        UsageError: --data has no value, or stands beside an option that it is short for.
        ConfigError: Its value is neither a path nor a source.
    """
    given = [place for place, word in enumerate(words) if word == "--data" or word.startswith("--data=")]
    if not given:
        return list(words)
    place = given[-1]
    _, joined, value = words[place].partition("=")
    rest = [*words[:place], *words[place + (1 if joined else 2) :]]
    if not joined:
        value = words[place + 1] if place + 1 < len(words) else ""
    if not value or (not joined and value.startswith("-")):
        raise UsageError("--data: needs a value. Give a folder, a file or a source, such as --data photos.")
    for other in ("--data.source", "--data.path", "--data"):
        if any(word.partition("=")[0] == other for word in rest):
            raise UsageError(f"{other}: stands beside --data {value}, which sets it. Leave out either.")
    from ganserve_training.data.config import SOURCES
    from ganserve_training.data.recognition import source_of

    if value in SOURCES.names:
        return [*rest, "--data.source", value]
    return [*rest, "--data.source", source_of(Path(value)), "--data.path", value]


def every_option(preset: str) -> list[Option]:
    """Return the options of a preset, with those of the other classes that its parts may have."""
    config = PRESETS[preset]
    found: dict[tuple[str, ...], Option] = {}
    others = [{path: name} for path, names in allowed_choices().items() for name in names]
    for template in [config, *(with_choices(config, other) for other in others)]:
        for option in options_of(TrainArguments, TrainArguments(config=template, out=Path("runs") / preset)):
            found.setdefault(option.path, option)
    return list(found.values())


def _chosen(preset: str, words: Sequence[str]) -> dict[str, Any]:
    """Return the choices among the arguments, whatever the others are."""
    choosing = {*allowed_choices(), "data.labels", "batch_size"}
    options = [option for option in options_of(TrainConfig, PRESETS[preset]) if ".".join(option.path) in choosing]
    found = parse(options, words, f"ganserve train {preset}", some=True)
    return {".".join(path): value for path, value in found.items()}


def _defaults(preset: str, chosen: Mapping[str, Any]) -> TrainArguments:
    """Return the preset's values, without those that the choices leave no use for."""
    config = PRESETS[preset]
    if chosen.get("data.labels") == "ignore":
        networks = replace(config.networks, generator_conditioning="auto", critic_conditioning="auto")
        config = replace(config, networks=networks)
    if "batch_size" in chosen and isinstance(config.networks, GrowthConfig):  # One size for every level.
        config = replace(config, networks=replace(config.networks, batch_sizes=()))
    names = {path: name for path, name in chosen.items() if path in allowed_choices()}
    return TrainArguments(config=with_choices(config, names), out=Path("runs") / preset)


def _check_given(given: frozenset[str], config: TrainConfig) -> None:
    """Refuse flags that have no effect. A preset that sets the same does no harm."""
    if {"batch_size", "networks.batch_sizes"} <= given:
        problem = "has no effect beside --networks.batch-sizes, which gives each level its own"
        raise refusal("batch_size", config.batch_size, problem, "Leave out either")
    if "schedule.burn_in_steps" in given and not anneals(config):
        fix = "Give a value another end, such as --optimisers.critic.learning-rate.end"
        raise refusal("schedule.burn_in_steps", config.schedule.burn_in_steps, "has nothing to anneal", fix)


def preset_help(preset: str, words: Sequence[str]) -> str:
    """Return the short help of a preset, that of one section, or all of it."""
    words = [part for word in words for part in (word.split("=", 1) if word.startswith("--help=") else [word])]
    section = next((after for word, after in pairwise([*words, ""]) if word in ("-h", "--help")), "")
    try:
        chosen = _chosen(preset, _with_data([word for word in words if word not in ("-h", "--help", "--help-all")]))
        defaults = _defaults(preset, chosen)
    except (UsageError, ConfigError):
        defaults = _defaults(preset, {})
    every = {".".join(option.path).removeprefix("config."): option for option in options_of(TrainArguments, defaults)}
    sections: dict[str, list[Option]] = {}
    for name, option in every.items():
        sections.setdefault(name.partition(".")[0] if "." in name else "run", []).append(option)
    if section and not section.startswith("-") and section not in sections:
        near = next((f"Did you mean {name}?" for name in sections if name.startswith(section)), "")
        all_of = f"Give one of {', '.join(sections)}."
        raise UsageError(f"--help {section}: no such section. {near or all_of}")
    others = {"--help SECTION": f"Show one of {', '.join(sections)}.", "--help-all": "Show all options."}
    more, chosen_sections = (
        {"help": HELP | (others if section in sections else {})},
        {section: sections[section]} if section in sections else sections,
    )
    if section not in sections and "--help-all" not in words:
        chosen_sections = {"options that matter most": [every[name] for name in _FIRST if name in every]}
        lines = {f"--help {name}": f"{len(of):2} options: {_about(defaults, name)}" for name, of in sections.items()}
        more = {"all options, by section": {**lines, "--help-all": "all of them"}}
    prog = f"ganserve train {preset}"
    shown = {title: entries(options) for title, options in chosen_sections.items()}
    examples = (f"{prog} --out runs/mine", f"{prog} --steps 500 --json")
    return help_text(f"{prog} [OPTIONS]", TrainArguments.__doc__ or "", shown | more, examples)


def _about(defaults: TrainArguments, section: str) -> str:
    """Return what a section is about: the beginning of its docstring."""
    part = getattr(defaults.config, section, None)
    if part is None:
        return "where, how long and on what to train"
    about = " ".join(re.split(r"[,.:;](?=\s|$)| \(", (type(part).__doc__ or "").strip())[0].split())
    return f"{about[:1].lower()}{about[1:]}"
