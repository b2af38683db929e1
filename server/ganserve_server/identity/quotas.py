"""Hold each caller to its quota. Used on one event loop."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import contextvars
import functools
from collections.abc import AsyncIterator, Awaitable, Callable

from ganserve_server.error_text import counted
from ganserve_server.errors import FailedPreconditionError, QuotaError
from ganserve_server.identity.identity import Identity
from ganserve_server.identity.quota_settings import Quota, QuotaSettings
from ganserve_server.identity.usage import CALLS, QUEUED, REQUESTS, SAMPLES, OwnUsage, Usage

_RETRY_S, _MOST_RETRY_S = 0.25, 60.0
_MOST_REMEMBERED = 4096
_MOST_NAMED = 100  # callers with series of their own in the metrics
OTHERS = "others"
"""Stands for the callers beyond those."""


class CallerQuota:
    """Use of one caller's quota."""

    def __init__(
        self, name: str, quota: Quota, refused: collections.Counter[tuple[str, str]], usage: Usage | None = None
    ) -> None:
        self.name = name
        self._usage = OwnUsage() if usage is None else usage
        self._refused = refused
        self._changed = asyncio.Event()
        self.change(quota)

    def change(self, quota: Quota) -> None:
        """Take another quota; what the caller has used still counts."""
        self.quota = quota
        with self._usage.locked():
            self._usage.set_rate(REQUESTS, quota.requests_per_s)
            self._usage.set_rate(SAMPLES, quota.samples_per_s)

    @property
    def calls(self) -> int:
        """Calls that run in this process."""
        return self._usage.own(CALLS)

    @property
    def queued(self) -> int:
        """Samples of this process that are asked for and not computed yet."""
        return self._usage.own(QUEUED)

    def enter(self) -> None:
        """Count a call; raise QuotaError if it is one too many. Then call `leave`."""
        most, per_s, usage = self.quota.concurrent_calls, self.quota.requests_per_s, self._usage
        with usage.locked():
            if most and (calls := usage.total(CALLS)) >= most:
                runs = "runs" if calls == 1 else "run"
                raise self._refusal("concurrent_calls", f"{counted(calls, 'call')} {runs} already, its most", _RETRY_S)
            if per_s:
                if wait_s := usage.wait_s(REQUESTS, 1.0):
                    rate = f"{per_s:g} call{'' if per_s == 1 else 's'} a second"
                    raise self._refusal("requests_per_s", f"it may make {rate}", wait_s)
                usage.take(REQUESTS, 1.0)
            usage.add(CALLS, 1)

    def leave(self) -> None:
        """Count the end of a call."""
        with self._usage.locked():
            self._usage.add(CALLS, -1)

    @contextlib.asynccontextmanager
    async def samples(self, count: int, *, wait: bool) -> AsyncIterator[None]:
        """Count samples as waiting until the block ends. With `wait`, begin it when the quota allows.

        Raises:
            QuotaError: The quota does not allow them now.
            FailedPreconditionError: The quota never allows this many at once.
        """
        if (most := self.quota.queued_samples) and count > most and not wait:
            raise FailedPreconditionError(
                f"{counted(count, 'sample')} are more than {self.name} may have in the queue, {most}: ask for fewer, "
                "or stream"
            )
        while (pause := self._begin(count, wait=wait)) is not None:
            await pause()
        try:
            yield
        finally:
            with self._usage.locked():
                self._usage.add(QUEUED, -count)
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    def charge(self, count: int) -> None:
        """Count samples that were computed beyond those asked for, as proposals of a selection are."""
        if self.quota.samples_per_s:
            with self._usage.locked():
                self._usage.take(SAMPLES, count)

    def _begin(self, count: int, *, wait: bool) -> Callable[[], Awaitable[object]] | None:
        """Count samples as waiting; if they cannot, return what to await before the next try, or raise QuotaError."""
        most, per_s, usage = self.quota.queued_samples, self.quota.samples_per_s, self._usage
        with usage.locked():
            queued = usage.total(QUEUED)
            if most and queued and queued + count > most:
                if wait:
                    return self._change
                wait_already = f"{counted(queued, 'sample')} {'waits' if queued == 1 else 'wait'} already, of {most}"
                raise self._refusal("queued_samples", wait_already, _RETRY_S)
            if per_s:
                if wait_s := usage.wait_s(SAMPLES, min(1.0, per_s)):
                    if wait:
                        return functools.partial(asyncio.sleep, wait_s)
                    rate = f"{per_s:g} sample{'' if per_s == 1 else 's'} a second"
                    raise self._refusal("samples_per_s", f"it may ask for {rate}", wait_s)
                usage.take(SAMPLES, count)
            usage.add(QUEUED, count)
        return None

    async def _change(self) -> None:
        """Wait until samples of this caller have been computed, perhaps in another process."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), self._usage.poll_s)

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
        self._usage_of: Callable[[str], Usage] | None = None
        self._refused: collections.Counter[tuple[str, str]] = collections.Counter()

    def share(self, usage_of: Callable[[str], Usage]) -> None:
        """Count each caller, by name, in what other processes see, too."""
        self._usage_of = usage_of

    def enter(self, identity: Identity, settings: QuotaSettings) -> CallerQuota | None:
        """Count a call and return its caller's quota, None if it has none; raise QuotaError."""
        quota = settings.of(identity)
        if quota is None:
            return None
        caller = self._callers.get(identity.name)
        if caller is None:
            if len(self._callers) >= _MOST_REMEMBERED:
                self._callers = {name: each for name, each in self._callers.items() if each.calls}
            caller = self._callers[identity.name] = self._new(identity.name, quota)
        elif caller.quota is not quota and caller.quota != quota:  # the file has changed
            caller.change(quota)
        caller.enter()
        return caller

    def _new(self, name: str, quota: Quota) -> CallerQuota:
        usage = None if self._usage_of is None else self._usage_of(name)
        return CallerQuota(name, quota, self._refused, usage)

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
