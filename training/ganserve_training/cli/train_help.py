"""Write the help of `ganserve train PRESET`, and list the options for the completion of shells."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from ganserve._command_line.help import HELP, entries, help_text
from ganserve._command_line.options import Option, UsageError, options_of
from ganserve_training.cli.train_arguments import TrainArguments, chosen, preset_defaults, with_data
from ganserve_training.config import TrainConfig, allowed_choices, with_choices
from ganserve_training.errors import ConfigError
from ganserve_training.presets import PRESETS

_FIRST = (
    *("out", "steps", "batch_size", "device", "seed", "processes", "json"),
    *("data", "data.source", "data.path", "data.size", "data.labels"),
    *("networks.architecture", "networks.latent_dim", "networks.generator_width", "networks.critic_width"),
    *("loss.name", "optimisers.generator.learning_rate.start", "optimisers.critic.learning_rate.start"),
)
"""Options of the short help."""


def completed_options(preset: str) -> list[Option]:
    """Return the options that shells complete: a preset's, those of other data sources, and those that show help.

    A shell doesn't know the arguments before, so options of other architectures or losses are left out.
    """
    sources = [{"data.source": name} for name in allowed_choices()["data.source"]]
    templates = [PRESETS[preset], *(with_choices(PRESETS[preset], source) for source in sources)]
    arguments = [TrainArguments(config=template, out=Path("runs") / preset) for template in templates]
    options = {option.path: option for each in reversed(arguments) for option in options_of(TrainArguments, each)}
    sections: Any = Literal[tuple(_sections(options.values()))]
    return [
        *options.values(),
        Option(("help",), ("--help",), sections, None, {}, "Show one section of the options."),
        Option(("help_all",), ("--help-all",), bool, False, {"opposite": False}, "Show all options."),
    ]


def _sections(options: Iterable[Option]) -> dict[str, list[Option]]:
    """Return the options by the section of the help that shows them."""
    sections: dict[str, list[Option]] = {}
    for option in options:
        nested = option.path[0] == "config" and len(option.path) > 2
        sections.setdefault(option.path[1] if nested else "run", []).append(option)
    return sections


def preset_help(preset: str, words: Sequence[str]) -> str:
    """Return the short help of a preset, that of one section, or all of it."""
    words = [part for word in words for part in (word.split("=", 1) if word.startswith("--help=") else [word])]
    section = next((after for word, after in pairwise([*words, ""]) if word in ("-h", "--help")), "")
    config, options = _options(preset, [word for word in words if word not in ("-h", "--help", "--help-all")])
    sections = _sections(options)
    if section and not section.startswith("-") and section not in sections:
        near = next((f"Did you mean {name}?" for name in sections if name.startswith(section)), "")
        all_of = f"Give one of {', '.join(sections)}."
        raise UsageError(f"--help {section}: no such section. {near or all_of}")
    if section in sections:
        others = {"--help SECTION": f"Show one of {', '.join(sections)}.", "--help-all": "Show all options."}
        shown = {section: entries(sections[section]), "help": HELP | others}
    elif "--help-all" in words:
        shown = {**{name: entries(of) for name, of in sections.items()}, "help": HELP}
    else:
        every = {".".join(option.path).removeprefix("config."): option for option in options}
        lines = {f"--help {name}": f"{len(of):2} options: {_about(config, name)}" for name, of in sections.items()}
        shown = {
            "options that matter most": entries(every[name] for name in _FIRST if name in every),
            "all options, by section": {**lines, "--help-all": "all of them"},
        }
    prog = f"ganserve train {preset}"
    examples = (f"{prog} --out runs/mine", f"{prog} --steps 500 --json")
    return help_text(f"{prog} [OPTIONS]", TrainArguments.__doc__ or "", shown, examples)


def _options(preset: str, words: Sequence[str]) -> tuple[TrainConfig, list[Option]]:
    """Return a preset with the choices among the arguments, and its options, whose defaults are the preset's own."""
    defaults = preset_defaults(preset, {})
    usual = {option.path: option.default for option in options_of(TrainArguments, defaults)}
    choices: dict[str, Any] = {}
    try:
        choices = chosen(preset, with_data(words))
        defaults = preset_defaults(preset, choices)
    except (UsageError, ConfigError):
        choices = {}
    options = options_of(TrainArguments, defaults)
    given = {("config", *path.split(".")) for path in choices} & set(usual)
    return defaults.config, [
        replace(option, default=usual[option.path]) if option.path in given else option for option in options
    ]


def _about(config: TrainConfig, section: str) -> str:
    """Return what a section is about: the beginning of its docstring."""
    part = getattr(config, section, None)
    if part is None:
        return "where, how long and on what to train"
    about = " ".join(re.split(r"[,.:;](?=\s|$)| \(", (type(part).__doc__ or "").strip())[0].split())
    return f"{about[:1].lower()}{about[1:]}"
