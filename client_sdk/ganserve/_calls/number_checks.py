"""Checks of numbers that callers give."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ganserve._errors import InvalidRequest

MAX_INDEX = 2**48  # offset + n, by the protocol


def check_integer(argument: str, value: Any, low: int, high: int) -> int:
    """An int between `low` and `high`, both included; NumPy's integers count, bools and floats don't.

    Raises:
        InvalidRequest: It is none.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise InvalidRequest.of(argument, f"is {value!r}; expected an int")
    number = operator.index(value)
    if number < low:
        raise InvalidRequest.of(argument, f"is {number}; expected at least {low}")
    if number > high:
        raise InvalidRequest.of(argument, f"is {number}; expected at most {high}")
    return number


def kind_of(value: Any) -> str:
    """What a value is, for an error: "None", "an int", "a dict"."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def check_flag(argument: str, value: Any) -> bool:
    """A bool.

    Raises:
        InvalidRequest: It is none.
    """
    if not isinstance(value, bool | np.bool_):
        raise InvalidRequest.of(argument, f"is {value!r}; expected a bool")
    return bool(value)


def is_finite(value: Any) -> bool:
    """Whether it is a finite number; NumPy's count, bools don't."""
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return number and math.isfinite(value)
