"""Check arguments that callers give."""

import math
import operator
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from ganserve._errors import InvalidRequest

MAX_INDEX = 2**48  # offset + n, by the protocol
SEED_BITS = 53  # of drawn seeds, like the server's: larger integers lose digits in jq, JavaScript and spreadsheets


def check_integer(argument: str, value: Any, low: int, high: int) -> int:
    """Return an int from `low` to `high`; NumPy's integers count, bools and floats don't."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise InvalidRequest.of(argument, f"is {value!r}; expected an int")
    number = operator.index(value)
    if number < low:
        raise InvalidRequest.of(argument, f"is {number}; expected at least {low}")
    if number > high:
        raise InvalidRequest.of(argument, f"is {number}; expected at most {high}")
    return number


def check_text(argument: str, text: str) -> str:
    """Return a text that a message can carry: UTF-8 has no lone surrogates, which bytes of other encodings become."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest.of(argument, f"is {text!a}, which is not valid Unicode; expected text of UTF-8") from None
    return text


def check_model(argument: str, value: Any) -> str:
    """Return a model's name."""
    if not isinstance(value, str) or not value:
        raise InvalidRequest.of(argument, f"is {value!r}; expected a model's name, or None for the only one")
    return check_text(argument, value)


def check_flag(argument: str, value: Any) -> bool:
    """Return a bool; NumPy's count."""
    if not isinstance(value, bool | np.bool_):
        raise InvalidRequest.of(argument, f"is {value!r}; expected a bool")
    return bool(value)


def check_choice(argument: str, value: Any, choices: Collection[str]) -> None:
    """Refuse a value that is none of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise InvalidRequest.of(argument, f"is {value!r}; expected one of {', '.join(map(repr, choices))}")


def check_suffix(path: str | os.PathLike[str], suffix: str) -> Path:
    """Return a path that ends in `suffix`."""
    file = Path(path)
    if file.suffix.lower() != suffix:
        raise InvalidRequest.of("path", f"is {str(file)!r}; expected a name that ends in {suffix}")
    return file


def is_finite(value: Any) -> bool:
    """Return whether a value is a finite number; NumPy's numbers count, bools don't."""
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return number and -math.inf < value < math.inf  # math.isfinite refuses an int that no float holds


def kind_of(value: Any) -> str:
    """Return the type of a value for an error: "None", "an int", "a dict"."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
