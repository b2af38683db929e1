"""Read the values of --control and --select, for the commands of the SDK and of the server."""

import math
from collections.abc import Sequence

from ganserve._command_framework.options import UsageError

MOST_PROPOSALS = 1024
"""Most samples that the protocol lets a selection draw for each that is returned."""


def read_controls(given: Sequence[str]) -> dict[str, float]:
    """Return the controls by name; each is given as NAME=FLOAT."""
    controls: dict[str, float] = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not name or not math.isfinite(number):
            raise UsageError(f"--control {text}: not NAME=FLOAT. Write it like c0=0.5.")
        if name in controls:
            raise UsageError(f"--control {text}: sets {name} twice. Give each control once.")
        controls[name] = number
    return controls


def read_selection(text: str) -> tuple[str, int]:
    """Return the method and N of best-of:N or rejection:N."""
    method, _, number = text.partition(":")
    is_short = number.isascii() and number.isdecimal() and len(number) <= len(str(MOST_PROPOSALS))
    if method not in ("best-of", "rejection") or not is_short or not 1 <= int(number) <= MOST_PROPOSALS:
        raise UsageError(f"--select {text}: not a rule. Give best-of:N or rejection:N, N in 1 to {MOST_PROPOSALS}.")
    return method, int(number)
