"""Waits that block, and their counterparts `async_…` for asyncio: `generate_sync_client.py` replaces these by those."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

ResultT = TypeVar("ResultT")

sleep, async_sleep = time.sleep, asyncio.sleep


def in_thread(function: Callable[..., ResultT], *arguments: Any) -> ResultT:
    """Call a slow function in this thread, which waits for it in any case."""
    return function(*arguments)


async_in_thread = asyncio.to_thread


def next_item(items: Iterator[ResultT] | AsyncIterator[ResultT]) -> ResultT | None:
    """Return the next item, or None at the end; a client that blocks has an ordinary iterator."""
    return next(cast("Iterator[ResultT]", items), None)


async def async_next_item(items: Iterator[ResultT] | AsyncIterator[ResultT]) -> ResultT | None:
    """Return the next item of an ordinary or an asynchronous iterator, or None at the end."""
    return next(items, None) if isinstance(items, Iterator) else await anext(items, None)


class Results(Iterator[ResultT]):
    """Results that are iterated with `for`."""


class AsyncResults(AsyncIterator[ResultT]):
    """Results that are iterated with `async for`."""

    if not TYPE_CHECKING:  # type checkers find the mistake by themselves

        def __iter__(self) -> NoReturn:
            raise TypeError(f"{type(self).__name__} belongs to asyncio: use `async for`, or a Client's stream")
