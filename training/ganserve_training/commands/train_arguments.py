"""Read the arguments of `ganserve train`: the options of a preset, and those that other choices bring."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from inspect import Parameter
from pathlib import Path
from typing import Any, Literal

from ganserve._command_framework.options import UsageError, flag, options_of
from ganserve._command_framework.parsing import app_of, parse
from ganserve_training.commands.train_options import options_of_config
from ganserve_training.config import TrainConfig, allowed_choices, with_choices
from ganserve_training.config.choices import misplaced
from ganserve_training.config.fitting import DATA_PATHS, Fit
from ganserve_training.config.serialisation import anneals, changed_config, flat_config
from ganserve_training.networks.growth import GrowthConfig
from ganserve_training.options.checks import refusal
from ganserve_training.presets import PRESETS


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainArguments:
    """Train a GAN, or resume an interrupted run: the same command continues from the newest checkpoint."""

    config: TrainConfig = flag(flag=False)
    """The preset's values, each of which a flag replaces."""
    out: Path = flag(aliases=("-o",))
    """The run's folder. An existing run is resumed."""
    data: str | None = flag(None, metavar="PATH|SOURCE")
    """Your data: a folder, a file or a zip archive; or a source, such as digits. Size, channels and use of labels are
    chosen where you don't give them, and printed as options."""
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

    def options(self) -> list[Parameter]:
        """Return the options of the command line, with these values as their defaults."""
        return [*options_of_config(self.config), *options_of(type(self), self)]


def read_arguments(argv: Sequence[str]) -> TrainArguments:
    """Read the command's arguments, the preset first; raise UsageError or, for contradictions, ConfigError."""
    preset, *words = argv
    words = [word.replace("--progressive.", "--networks.") for word in words]  # Their name until 2026-11.
    words = with_data(words)
    defaults = preset_defaults(preset, chosen(preset, words))
    words = _with_both_ends(words, defaults.config)
    for word in words:
        if error := misplaced(defaults.config, word.partition("=")[0]):
            raise error
    given = parse(app_of(f"ganserve train {preset}", defaults.options()), words)
    own = {item.name: given.pop(item.name) for item in fields(TrainArguments) if item.name in given}
    arguments = replace(defaults, config=changed_config(defaults.config, given), **own)
    paths = frozenset(given)
    _check_given(paths, arguments.config)
    return replace(arguments, fit=Fit(preset=PRESETS[preset], given=paths)) if paths & DATA_PATHS else arguments


def with_data(words: Sequence[str]) -> list[str]:
    """Return the arguments with --data as the options that it is short for.

    Raises:
        UsageError: --data has no value, or stands beside an option that it is short for.
        ConfigError: Its value is neither a path nor a source.
    """
    found = _data_words(words)
    if found is None:
        return list(words)
    place, count, value = found
    rest = [*words[:place], *words[place + count :]]
    for other in ("--data.source", "--data.path", "--data"):
        if any(word.partition("=")[0] == other for word in rest):
            raise UsageError(f"{other}: stands beside --data {value}, which sets it. Leave out either.")
    from ganserve_training.data.recognition import names_source, source_of

    if names_source(value):
        if Path(value).exists():
            fix = f"Write --data ./{value} for what is here, or --data.source {value}"
            raise UsageError(f"--data {value}: is a source, and there is a file or folder of that name. {fix}.")
        return [*rest, "--data.source", value]
    # In one word, so that a path may begin with a dash.
    return [*rest, "--data.source", source_of(value), f"--data.path={value}"]


def data_value(words: Sequence[str]) -> str | None:
    """Return the value of --data; None: it is not given. Raise UsageError if it lacks its value."""
    found = _data_words(words)
    return None if found is None else found[2]


def _data_words(words: Sequence[str]) -> tuple[int, int, str] | None:
    """Return the place of --data among the arguments, how many words it takes, and its value."""
    place = next((at for at in reversed(range(len(words))) if words[at].partition("=")[0] == "--data"), None)
    if place is None:
        return None
    _, joined, value = words[place].partition("=")
    if not joined:
        value = words[place + 1] if place + 1 < len(words) else ""
    if not value or (not joined and value.startswith("-")):
        raise UsageError("--data: needs a value. Give a folder, a file or a source, such as --data photos.")
    count = 1 if joined else 2
    _expect_one_path(value, words[place + count : place + count + 1])
    return place, count, value


def _expect_one_path(value: str, following: Sequence[str]) -> None:
    """Refuse a word after the value of --data that is no option, such as what a shell makes of photos/*.jpg."""
    for word in following:
        if word in PRESETS:
            raise UsageError(f"{word}: the preset comes first. Write ganserve train {word} --data {value}.")
        if not word.startswith("-") and Path(f"{value} {word}").exists():
            raise UsageError(f"--data {value}: has a space in its path. Write --data {shlex.quote(f'{value} {word}')}.")
        if not word.startswith("-") and Path(word).exists():
            problem = f"takes one path, and {word} is a second one"
            raise UsageError(
                f"--data {value}: {problem}. Give the folder: --data {shlex.quote(str(Path(word).parent))}."
            )


def given_options(preset: str, words: Sequence[str]) -> frozenset[str]:
    """Return the options among the arguments, such as "out" and "data.size"."""
    words = with_data(words)
    defaults = preset_defaults(preset, chosen(preset, words))
    words = _with_both_ends(words, defaults.config)
    return frozenset(parse(app_of(f"ganserve train {preset}", defaults.options()), words))


def _with_both_ends(words: Sequence[str], config: TrainConfig) -> list[str]:
    """Return the arguments with a value that changes, such as --regularisers.r1-gamma 3, as its start and its end."""
    changing = {path.removesuffix(".start") for path in flat_config(config) if path.endswith(".start")}
    result: list[str] = []
    places = iter(words)
    for word in places:
        name, joined, value = word.partition("=")
        if name.removeprefix("--").replace("-", "_") not in changing:
            result.append(word)
            continue
        value = value if joined else next(places, "")
        if not value:
            raise UsageError(f"{name}: needs a value. It sets {name}.start and {name}.end.")
        result += [f"{name}.start={value}", f"{name}.end={value}"]
    return result


def chosen(preset: str, words: Sequence[str]) -> dict[str, Any]:
    """Return the choices among the arguments, whatever the others are."""
    choosing = {*allowed_choices(), "data.labels", "batch_size"}
    flags = {f"--{path.replace('_', '-')}" for path in choosing}
    ours: list[str] = []
    for place, word in enumerate(words):
        name, joined, _ = word.partition("=")
        if name.replace("_", "-") in flags:
            ours += words[place : place + (1 if joined else 2)]
    options = [option for option in options_of_config(PRESETS[preset]) if option.name.replace("__", ".") in choosing]
    return parse(app_of(f"ganserve train {preset}", options), ours)


def preset_defaults(preset: str, choices: Mapping[str, Any]) -> TrainArguments:
    """Return the preset's values, without those that the choices leave no use for."""
    config = PRESETS[preset]
    if choices.get("data.labels") == "ignore":
        networks = replace(config.networks, generator_conditioning="auto", critic_conditioning="auto")
        config = replace(config, networks=networks)
    if "batch_size" in choices and isinstance(config.networks, GrowthConfig):  # One size for every level.
        config = replace(config, networks=replace(config.networks, batch_sizes=()))
    names = {path: name for path, name in choices.items() if path in allowed_choices()}
    return TrainArguments(config=with_choices(config, names), out=Path("runs") / preset)


def _check_given(given: frozenset[str], config: TrainConfig) -> None:
    """Refuse flags that have no effect. A preset that sets the same does no harm."""
    if {"batch_size", "networks.batch_sizes"} <= given:
        problem = "has no effect beside --networks.batch-sizes, which gives each level its own"
        raise refusal("batch_size", config.batch_size, problem, "Leave out either")
    if "schedule.burn_in_steps" in given and not anneals(config):
        fix = "Give a value another end, such as --optimisers.critic.learning-rate.end"
        raise refusal("schedule.burn_in_steps", config.schedule.burn_in_steps, "has nothing to anneal", fix)
