"""Check requests on the event loop if that takes microseconds, and on another thread if not."""

import asyncio
from collections.abc import Callable, Sized
from typing import ParamSpec, TypeVar

ArgumentsT = ParamSpec("ArgumentsT")
PlanT = TypeVar("PlanT")

# A request of this many bytes, or with this many labels, files or controls, takes a few hundred microseconds to check.
_QUICK_BYTES, _QUICK_ENTRIES = 2**16, 512


async def planned(
    function: Callable[ArgumentsT, PlanT],
    request_bytes: int,
    repeated: tuple[Sized, ...],
    *arguments: ArgumentsT.args,
    **named: ArgumentsT.kwargs,
) -> PlanT:
    """Return a request's plan. `request_bytes` is its size on the wire, `repeated` its fields that may be long."""
    if request_bytes <= _QUICK_ENTRIES or (request_bytes <= _QUICK_BYTES and sum(map(len, repeated)) <= _QUICK_ENTRIES):
        return function(*arguments, **named)
    return await asyncio.to_thread(function, *arguments, **named)
