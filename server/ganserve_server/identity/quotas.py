"""Hold each caller to its quota. Used on one event loop."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import contextvars
import time
from collections.abc import AsyncIterator

from ganserve_server.error_text import counted
from ganserve_server.errors import FailedPreconditionError, QuotaError
from ganserve_server.identity.identity import Identity
from ganserve_server.identity.quota_settings import Quota, QuotaSettings

_RETRY_S, _MOST_RETRY_S = 0.25, 60.0
_MOST_REMEMBERED = 4096
_MOST_NAMED = 100  # callers with series of their own in the metrics
OTHERS = "others"
"""Stands for the callers beyond those."""


class _Bucket:
    """Refills by `rate` a second up to one second's worth, at least 1. A debt is paid back before more is given."""

    __slots__ = ("_at", "_most", "level", "rate")

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._most = max(rate, 1.0)
        self.level = self._most
        self._at = time.monotonic()

    def wait_s(self, needed: float) -> float:
        """Return the seconds until it holds this much, 0 if it does."""
        now = time.monotonic()
        self.level = min(self._most, self.level + (now - self._at) * self.rate)
        self._at = now
        return max(0.0, (needed - self.level) / self.rate)


def _bucket(rate: float, before: _Bucket | None) -> _Bucket | None:
    """Return a bucket that holds what an earlier one of another rate holds, or is full; None without a rate."""
    if not rate:
        return None
    bucket = _Bucket(rate)
    if before is not None:  # tokens of one name may alternate: their roles may have different quotas
        before.wait_s(0.0)
        bucket.level = min(bucket.level, before.level)
    return bucket


class CallerQuota:
    """Use of one caller's quota."""

    def __init__(self, name: str, quota: Quota, refused: collections.Counter[tuple[str, str]]) -> None:
        self.name = name
        self.calls = 0
        """Calls that run."""
        self.queued = 0
        """Requested samples that are not computed yet."""
        self._refused = refused
        self._changed = asyncio.Event()
        self._requests: _Bucket | None = None
        self._samples: _Bucket | None = None
        self.change(quota)

    def change(self, quota: Quota) -> None:
        """Take another quota; what the caller has used still counts."""
        self.quota = quota
        self._requests = _bucket(quota.requests_per_s, self._requests)
        self._samples = _bucket(quota.samples_per_s, self._samples)

    def enter(self) -> None:
        """Count a call; raise QuotaError if it is one too many. Then call `leave`."""
        most = self.quota.concurrent_calls
        if most and self.calls >= most:
            raise self._refusal(
                "concurrent_calls",
                f"{counted(self.calls, 'call')} {'runs' if self.calls == 1 else 'run'} already, its most",
                _RETRY_S,
            )
        if self._requests is not None:
            if wait_s := self._requests.wait_s(1.0):
                rate = f"{self._requests.rate:g} call{'' if self._requests.rate == 1 else 's'} a second"
                raise self._refusal("requests_per_s", f"it may make {rate}", wait_s)
            self._requests.level -= 1.0
        self.calls += 1

    def leave(self) -> None:
        """Count the end of a call."""
        self.calls -= 1

    @contextlib.asynccontextmanager
    async def samples(self, count: int, *, wait: bool) -> AsyncIterator[None]:
        """Count samples as waiting until the block ends. With `wait`, begin it when the quota allows.

        Raises:
            QuotaError: The quota does not allow them now.
            FailedPreconditionError: The quota never allows this many at once.
        """
        await self._room(count, wait=wait)
        while self._samples is not None and (wait_s := self._samples.wait_s(min(1.0, self._samples.rate))):
            if not wait:
                rate = f"{self._samples.rate:g} sample{'' if self._samples.rate == 1 else 's'} a second"
                raise self._refusal("samples_per_s", f"it may ask for {rate}", wait_s)
            await asyncio.sleep(wait_s)
        self.charge(count)
        self.queued += count
        try:
            yield
        finally:
            self.queued -= count
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    def charge(self, count: int) -> None:
        """Count samples that were computed beyond those asked for, as proposals of a selection are."""
        if self._samples is not None:
            self._samples.level -= count

    async def _room(self, count: int, *, wait: bool) -> None:
        most = self.quota.queued_samples
        if not most:
            return
        if count > most and not wait:
            raise FailedPreconditionError(
                f"{counted(count, 'sample')} are more than {self.name} may have in the queue, {most}: ask for fewer, "
                "or stream"
            )
        while self.queued and self.queued + count > most:
            if not wait:
                raise self._refusal(
                    "queued_samples",
                    f"{counted(self.queued, 'sample')} {'waits' if self.queued == 1 else 'wait'} already, of {most}",
                    _RETRY_S,
                )
            await self._changed.wait()

    def _refusal(self, quota: str, problem: str, retry_after_s: float) -> QuotaError:
        self._refused[self.name, quota] += 1
        # Two digits make many refusals in a row equal.
        retry_after_s = float(f"{min(max(retry_after_s, 0.01), _MOST_RETRY_S):.2g}")
        return QuotaError(
            quota, self.name, f"the quota of {self.name} is used up: {problem}", retry_after_s=retry_after_s
        )


class Quotas:
    """The quotas of all callers."""

    def __init__(self) -> None:
        self._callers: dict[str, CallerQuota] = {}
        self._refused: collections.Counter[tuple[str, str]] = collections.Counter()

    def enter(self, identity: Identity, settings: QuotaSettings) -> CallerQuota | None:
        """Count a call and return its caller's quota, None if it has none; raise QuotaError."""
        quota = settings.of(identity)
        if quota is None:
            return None
        caller = self._callers.get(identity.name)
        if caller is None:
            if len(self._callers) >= _MOST_REMEMBERED:
                self._callers = {name: each for name, each in self._callers.items() if each.calls}
            caller = self._callers[identity.name] = CallerQuota(identity.name, quota, self._refused)
        elif caller.quota is not quota and caller.quota != quota:  # the file has changed
            caller.change(quota)
        caller.enter()
        return caller

    def refused(self) -> dict[tuple[str, str], int]:
        """Return the number of refusals by caller and quota; callers beyond a hundred are counted together."""
        counts: dict[tuple[str, str], int] = {}
        names = {name: None for name, _ in list(self._refused)}
        known = set(list(names)[:_MOST_NAMED])
        for (name, quota), count in list(self._refused.items()):
            key = (name if name in known else OTHERS, quota)
            counts[key] = counts.get(key, 0) + count
        return counts


running_quota: contextvars.ContextVar[CallerQuota | None] = contextvars.ContextVar("running_quota", default=None)
"""The quota of the running call's caller; None without one."""


_UNLIMITED: contextlib.AbstractAsyncContextManager[None] = contextlib.nullcontext()


def charge_more(count: int) -> None:
    """Count samples that the running call computed beyond those that it asked for."""
    quota = running_quota.get()
    if quota is not None and count > 0:
        quota.charge(count)


def within_quota(count: int, *, wait: bool) -> contextlib.AbstractAsyncContextManager[None]:
    """Return a block that computes samples of the running call within its caller's quota; see `CallerQuota.samples`."""
    quota = running_quota.get()
    return _UNLIMITED if quota is None else quota.samples(count, wait=wait)
