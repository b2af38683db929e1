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
    try:
        return function(*arguments)
    except StopIteration as error:  # would look like the end of a stream, and no future can hold it
        raise RuntimeError(f"{function.__qualname__} raised {error!r}") from error


async def async_in_thread(function: Callable[..., ResultT], *arguments: Any) -> ResultT:
    """Call a slow function in another thread."""
    return await asyncio.to_thread(in_thread, function, *arguments)


END: Any = object()
"""The end of an iterator; None may be an item."""


def next_item(items: Iterator[Any] | AsyncIterator[Any]) -> Any:
    """Return the next item, or `END`; a client that blocks has an ordinary iterator."""
    return next(cast("Iterator[Any]", items), END)


async def async_next_item(items: Iterator[Any] | AsyncIterator[Any]) -> Any:
    """Return the next item of an ordinary or an asynchronous iterator, or `END`."""
    return next(items, END) if isinstance(items, Iterator) else await anext(items, END)


class Results(Iterator[ResultT]):
    """Results that are iterated with `for`."""


class AsyncResults(AsyncIterator[ResultT]):
    """Results that are iterated with `async for`."""

    if not TYPE_CHECKING:  # type checkers find the mistake by themselves

        def __iter__(self) -> NoReturn:
            raise TypeError(f"{type(self).__name__} belongs to asyncio: use `async for`, or a Client's stream")
