"""Tell failures of the user's own networks as one message that names the class, the problem, and file and line."""

from __future__ import annotations

import dis
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn

from torch import nn

from ganserve_training.errors import NetworkFailedError, TrainingError

_NAME = "_ganserve_name"
_PACKAGES = tuple({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
_OTHERS = {"torch", "ganserve", "ganserve_training", "ganserve_export", "ganserve_server"}
_ENDS = ("_exit", "abort")


class _EndedProcessError(SystemExit):
    """The user's code called a function of `os` that ends the process at once."""


def name_network(network: nn.Module, named: str) -> None:
    """Remember which option made this network; its copies know it, too."""
    vars(network)[_NAME] = named


def is_from_user(error: BaseException) -> bool:
    """Return False for a Ctrl-C, which is not the fault of the code that it interrupts."""
    if not isinstance(error, KeyboardInterrupt):
        return True
    last = _innermost(error.__traceback__)
    return last is not None and _operation(last) == "RAISE_VARARGS"


def raised(error: BaseException) -> str:
    """Return what the user's code raised, on one line, and where; begins with a verb."""
    if isinstance(error, _EndedProcessError):
        said = f"called {error}, which ends the process"
    elif isinstance(error, SystemExit):
        said = f"raised SystemExit({error.code!r}), as sys.exit does"
    else:
        said = f"raised {type(error).__name__}: {' '.join(str(error).split()).rstrip('.')}".removesuffix(": ")
    place = _place(error)
    return f"{said} ({place})" if place else said


@contextmanager
def failures_told() -> Iterator[None]:
    """Raise NetworkFailedError in place of what networks of the user's own raise in this block.

    Ctrl-C and our own errors pass. Errors elsewhere pass, too: only those are told that a line of the user's networks
    or torch's backward pass raised. os._exit and os.abort raise an error meanwhile, unless in a child process.
    """
    with exits_raise():
        try:
            yield
        except TrainingError:
            raise
        except BaseException as error:
            frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
            who, backward = _network(frames), any(_is_backward(frame) for frame in frames)
            if not is_from_user(error) or (who is None and not backward):
                raise
            named = who or "--networks.architecture custom"
            what = "the backward pass" if who is None else "its code"
            raise NetworkFailedError(f"{named}: {what} {raised(error)}. Correct the class.") from error


@contextmanager
def exits_raise() -> Iterator[None]:
    """Let os._exit and os.abort raise an error in this process, so that it can still say what happened."""
    before, process = {name: getattr(os, name) for name in _ENDS}, os.getpid()

    def end(name: str, original: Callable[..., NoReturn], *given: Any) -> NoReturn:
        if os.getpid() != process:
            original(*given)
        raise _EndedProcessError(f"os.{name}({', '.join(map(repr, given))})")

    for name, original in before.items():
        setattr(os, name, partial(end, name, original))
    try:
        yield
    finally:
        for name, original in before.items():
            setattr(os, name, original)


def _network(frames: list[FrameType]) -> str | None:
    """Return the name of the outermost of the user's networks that these frames belong to."""
    for frame in frames:
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and _NAME in vars(owner):
            return str(vars(owner)[_NAME])
    return None


def _is_backward(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") == "torch.autograd.graph"


def _innermost(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace


def _operation(trace: TracebackType) -> str:
    return dis.opname[trace.tb_frame.f_code.co_code[trace.tb_lasti]]


def _place(error: BaseException) -> str:
    """Return file and line of the innermost of the user's own lines, or nothing."""
    if isinstance(error, SyntaxError):
        return ""  # its text has them
    lines = [(frame, number) for frame, number in traceback.walk_tb(error.__traceback__) if _is_foreign(frame)]
    own = [line for line in lines if not line[0].f_code.co_filename.startswith(_PACKAGES)] or lines
    return f"{Path(own[-1][0].f_code.co_filename).name}, line {own[-1][1]}" if own else ""


def _is_foreign(frame: FrameType) -> bool:
    """Return True if the frame is of neither Python, torch nor ganserve."""
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return package not in sys.stdlib_module_names | _OTHERS
