"""Write the help of `ganserve train PRESET`, and list the options for the completion of shells."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from inspect import Parameter
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts

from ganserve._command_framework.options import UsageError, option
from ganserve._command_framework.parsing import app_of, help_of
from ganserve_training.commands.train_arguments import TrainArguments, chosen, preset_defaults, with_data
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


def completed_options(preset: str) -> list[Parameter]:
    """Return the options that shells complete: a preset's, those of other data sources, and those that show help.

    A shell doesn't know the arguments before, so options of other architectures or losses are left out.
    """
    sources = [{"data.source": name} for name in allowed_choices()["data.source"]]
    templates = [PRESETS[preset], *(with_choices(PRESETS[preset], source) for source in sources)]
    arguments = [TrainArguments(config=template, out=Path("runs") / preset) for template in templates]
    options = {found.name: found for each in reversed(arguments) for found in each.options()}
    sections: Any = Literal[tuple(_sections(options.values()))]
    return [
        *options.values(),
        option("help", sections, None, "Show one section of the options.", {}),
        option("help_all", bool, False, "Show all options.", {}),
    ]


def _sections(options: Iterable[Parameter]) -> dict[str, list[Parameter]]:
    """Return the options by the section of the help that shows them."""
    sections: dict[str, list[Parameter]] = {}
    for each in options:
        section, _, nested = each.name.partition("__")
        sections.setdefault(section if nested else "run", []).append(each)
    return sections


def preset_help(preset: str, words: Sequence[str]) -> str:
    """Return the short help of a preset, that of one section, or all of it."""
    words = [part for word in words for part in (word.split("=", 1) if word.startswith("--help=") else [word])]
    section = next((after for word, after in pairwise([*words, ""]) if word in ("-h", "--help")), "")
    config, options = _options(preset, [word for word in words if word not in ("-h", "--help", "--help-all")])
    sections = _sections(options)
    end = [f"--help SECTION shows one of {', '.join(sections)}; --help-all shows all options."]
    if section in sections:
        shown = {section: sections[section]}
    elif section and not section.startswith("-"):
        near = next((f"Did you mean {name}?" for name in sections if name.startswith(section)), "")
        all_of = f"Give one of {', '.join(sections)}."
        raise UsageError(f"--help {section}: no such section. {near or all_of}")
    elif "--help-all" in words:
        shown = sections
    else:
        every = {option.name.replace("__", "."): option for option in options}
        shown = {"options that matter most": [every[name] for name in _FIRST if name in every]}
        end = ["all options, by section:"]
        end += [f"  --help {name:12} {len(of):2} options: {_about(config, name)}" for name, of in sections.items()]
        end += ["  --help-all"]
    if any(option.name.endswith("__start") for of in shown.values() for option in of):
        end.append("NAME.start and NAME.end are the ends of a value that changes; --NAME sets both.")
    prog = f"ganserve train {preset}"
    grouped = []
    for title, those in shown.items():
        group = cyclopts.Parameter(group=cyclopts.Group.create_ordered(title))
        grouped += [each.replace(annotation=Annotated[each.annotation, group]) for each in those]
    examples = (f"{prog} --out runs/mine", f"{prog} --steps 500 --json")
    return help_of(app_of(prog, grouped, TrainArguments.__doc__ or ""), examples, [*end, ""])


def _options(preset: str, words: Sequence[str]) -> tuple[TrainConfig, list[Parameter]]:
    """Return a preset with the choices among the arguments, and its options, whose defaults are the preset's own."""
    defaults = preset_defaults(preset, {})
    usual = {option.name: option for option in defaults.options()}
    choices: dict[str, Any] = {}
    try:
        choices = chosen(preset, with_data(words))
        defaults = preset_defaults(preset, choices)
    except (UsageError, ConfigError):
        choices = {}
    given = {path.replace(".", "__") for path in choices}
    return defaults.config, [usual.get(each.name, each) if each.name in given else each for each in defaults.options()]


def _about(config: TrainConfig, section: str) -> str:
    """Return what a section is about: the beginning of its docstring."""
    part = getattr(config, section, None)
    if part is None:
        return "where, how long and on what to train"
    about = " ".join(re.split(r"[,.:;](?=\s|$)| \(", (type(part).__doc__ or "").strip())[0].split())
    return about if about[1:2].isupper() else f"{about[:1].lower()}{about[1:]}"
