"""Refuse configuration values, all in one form: flag, value, problem, fix."""

from ganserve_training.errors import ConfigError
from ganserve_training.options.anneal import Anneal


def flag(path: str) -> str:
    """Return the flag that sets the field at `path`: `data.labels_path` -> `--data.labels-path`."""
    return f"--{path.replace('_', '-')}"


def refusal(path: str, value: object, problem: str, fix: str = "") -> ConfigError:
    """Return the error that names the flag of `path`, its value, what is wrong and what to do."""
    whole = ".{start,end}" if isinstance(value, Anneal) else ""
    return ConfigError(f"{flag(path)}{whole} {value}: {problem}.{f' {fix}.' if fix else ''}")


def expect(holds: bool, path: str, value: object, expected: str, fix: str = "") -> None:
    """Raise ConfigError unless `holds`."""
    if not holds:
        raise refusal(path, value, f"must be {expected}", fix)


def expect_seed(path: str, seed: int) -> None:
    """Refuse a seed that some random generator does not take."""
    expect(0 <= seed < 2**63, path, seed, "at least 0 and less than 2^63")


def expect_not_negative(path: str, value: Anneal | float) -> None:
    """Refuse a negative weight, annealed or not."""
    expect((value.least if isinstance(value, Anneal) else value) >= 0.0, path, value, "0 or more")
