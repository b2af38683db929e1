"""Refuse configuration values, all in one form: flag, value, problem, fix."""

import functools
import typing
from collections.abc import Mapping

from ganserve_training.errors import ConfigError
from ganserve_training.options.anneal import Anneal


def flag(path: str) -> str:
    """Return the flag that sets the field at `path`: `data.labels_path` -> `--data.labels-path`."""
    return f"--{path.replace('_', '-')}"


def refusal(path: str, value: object, problem: str, fix: str = "") -> ConfigError:
    """Return an error that gives the flag of `path`, its value, the problem and a fix."""
    whole = ".{start,end}" if isinstance(value, Anneal) else ""
    return ConfigError(f"{flag(path)}{whole} {value}: {problem}.{f' {fix}.' if fix else ''}")


def expect(holds: bool, path: str, value: object, expected: str, fix: str = "") -> None:
    """Raise ConfigError unless `holds`."""
    if not holds:
        raise refusal(path, value, f"must be {expected}", fix)


def expect_at_least(least: int, part: object, path: str, *names: str) -> None:
    """Refuse values below `least` in these fields of `part`, which is at `path` in the configuration."""
    for name in names:
        value = getattr(part, name)
        expect(value >= least, f"{path}.{name}" if path else name, value, f"at least {least}" if least else "0 or more")


def expect_choice(path: str, value: object, choices: tuple[object, ...]) -> None:
    """Refuse a value that is not one of `choices`."""
    if value not in choices:
        raise ConfigError(f"{path} {value!r}: is not a choice. Use one of {', '.join(map(str, choices))}.")


def expect_choices(part: typing.Any, path: str) -> None:
    """Refuse a value that the `Literal` of its field in `part` does not have."""
    for name, choices in _literals(part.__class__).items():
        expect_choice(f"{path}.{name}" if path else name, getattr(part, name), choices)


@functools.cache
def _literals(kind: type[typing.Any]) -> Mapping[str, tuple[object, ...]]:
    hints = typing.get_type_hints(kind).items()
    return {name: typing.get_args(hint) for name, hint in hints if typing.get_origin(hint) is typing.Literal}


def expect_seed(path: str, seed: int) -> None:
    """Refuse a seed that a random number generator does not accept."""
    expect(0 <= seed < 2**63, path, seed, "at least 0 and less than 2^63")


def expect_not_negative(path: str, value: Anneal | float) -> None:
    """Refuse a negative weight, annealed or not."""
    expect((value.least if isinstance(value, Anneal) else value) >= 0.0, path, value, "0 or more")
