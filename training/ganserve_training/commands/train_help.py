"""Write the help of `ganserve train PRESET`, and list the options for the completion of shells."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from inspect import Parameter
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal

import cyclopts

from ganserve._command_framework.options import UsageError, option
from ganserve._command_framework.parsing import app_of, help_of
from ganserve_training.commands import listed_options
from ganserve_training.errors import ConfigError

if TYPE_CHECKING:
    from ganserve_training.config import TrainConfig

ABOUT = "Train a GAN, or resume an interrupted run: the same command continues from the newest checkpoint."
_FIRST = (
    *("out", "steps", "batch_size", "device", "seed", "processes", "json"),
    *("data", "data.source", "data.path", "data.size", "data.labels"),
    *("networks.architecture", "networks.latent_dim", "networks.generator_width", "networks.critic_width"),
    *("loss.name", "optimisers.generator.learning_rate.start", "optimisers.critic.learning_rate.start"),
)
"""Options of the short help."""


def completed_options(preset: str) -> list[Parameter]:
    """Return the options that shells complete: those of `listed_options`, and those that show help."""
    options = listed_options.completed_options(preset)
    sections: Any = Literal[tuple(_sections(options))]
    return [
        *options,
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
    section = "" if section.startswith("-") else section
    others = [word for word in words if word not in ("-h", "--help", "--help-all", section)]
    summaries, options = _options(preset, others)
    sections = _sections(options)
    end = [f"--help SECTION shows one of {', '.join(sections)}; --help-all shows all options."]
    if section in sections:
        shown = {section: sections[section]}
    elif section:
        near = next((f"Did you mean {name}?" for name in sections if name.startswith(section)), "")
        all_of = f"Give one of {', '.join(sections)}."
        raise UsageError(f"--help {section}: no such section. {near or all_of}")
    elif "--help-all" in words:
        shown = sections
    else:
        every = {option.name.replace("__", "."): option for option in options}
        shown = {"options that matter most": [every[name] for name in _FIRST if name in every]}
        end = ["all options, by section:"]
        end += [f"  --help {name:12} {len(of):2} options: {summaries[name]}" for name, of in sections.items()]
        end += ["  --help-all"]
    if any(option.name.endswith("__start") for of in shown.values() for option in of):
        end.append("NAME.start and NAME.end are the ends of a value that changes; --NAME sets both.")
    prog = f"ganserve train {preset}"
    grouped = []
    for title, those in shown.items():
        group = cyclopts.Parameter(group=cyclopts.Group.create_ordered(title))
        grouped += [each.replace(annotation=Annotated[each.annotation, group]) for each in those]
    examples = (f"{prog} --out runs/mine", f"{prog} --steps 500 --json")
    return help_of(app_of(prog, grouped, ABOUT), examples, [*end, ""])


def _options(preset: str, words: Sequence[str]) -> tuple[dict[str, str], list[Parameter]]:
    """Return a line about each section, and the options, whose defaults are the preset's own.

    Choices among the arguments, such as a loss, bring other options; finding them loads PyTorch.
    """
    usual = listed_options.preset_options(preset)
    if not listed_options.choose(words) and listed_options.is_complete():
        return listed_options.section_summaries(preset), usual
    from ganserve_training.commands.train_arguments import chosen, preset_defaults, with_data

    choices: dict[str, Any] = {}
    defaults = preset_defaults(preset, choices)
    try:
        choices = chosen(preset, with_data(words))
        defaults = preset_defaults(preset, choices)
    except (UsageError, ConfigError):
        choices = {}
    given = {path.replace(".", "__") for path in choices}
    kept = {each.name: each for each in usual if each.name in given}
    return summaries_of(defaults.config), [kept.get(each.name, each) for each in defaults.options()]


def summaries_of(config: TrainConfig) -> dict[str, str]:
    """Return a line about each section of a configuration's options: the beginning of its docstring."""
    summaries = {"run": "where, how long and on what to train"}
    for section in (item.name for item in fields(config) if is_dataclass(getattr(config, item.name))):
        about = type(getattr(config, section)).__doc__ or ""
        about = " ".join(re.split(r"[,.:;](?=\s|$)| \(", about.strip())[0].split())
        summaries[section] = about if about[1:2].isupper() else f"{about[:1].lower()}{about[1:]}"
    return summaries
