"""Let calls in, each for its caller, and note what they hold until they have ended."""

from __future__ import annotations

import functools

from ganserve_server.api.grpc.peers import caller_of
from ganserve_server.api.grpc.stalls import Stalls
from ganserve_server.monitoring.call_tracking import Call
from ganserve_server.queue.callers import Caller, Callers
from ganserve_server.queue.memory_budget import Account, MemoryBudget, memory_limit_bytes
from ganserve_server.requests.limits import Limits

# Beside its message, a request holds the parsed one; texts and nested messages take more than on the wire.
_REQUEST_COPIES = 3
# Requests that arrive at once, each at most of the largest size, fit into a share of the memory.
_READING_SHARE, _LEAST_READING, _MOST_READING = 4, 4, 256


class Gate:
    """The callers, the memory of their calls, and the clients that stall. Used on the event loop of the server."""

    def __init__(self, limits: Limits) -> None:
        self.budget = MemoryBudget(limits.memory_limit_bytes or memory_limit_bytes())
        self.callers = Callers(limits.max_caller_calls)
        self._request_bytes = limits.max_request_bytes
        reading = self.budget.size // _READING_SHARE // self._request_bytes
        most_reading = max(_LEAST_READING, min(_MOST_READING, reading))
        self.stalls = Stalls(limits.stall_timeout_s, most_reading, self.callers.note_read)

    def enter(self, call: Call, peer: str) -> Caller:
        """Count a call until its task, which runs this, ends, open its account, and return its caller.

        Raises QueueFullError if the caller has too many calls.
        """
        caller = self.callers.enter(call.identity or caller_of(peer))
        account = call.account = Account(self.budget, caller)
        assert call.task is not None, "each call runs in its own task"
        call.task.add_done_callback(functools.partial(self._left, call, account))
        return caller

    def received(self, call: Call, size: int) -> None:
        """Reserve the memory of a call's only request."""
        call.account.request_bytes = size
        call.account.hold(_REQUEST_COPIES * size)

    def hold_stream(self, call: Call) -> None:
        """Reserve the memory for the message of a request stream that arrives."""
        call.account.hold(self._request_bytes)

    def _left(self, call: Call, account: Account, _task: object) -> None:
        # Runs for every call.
        self.stalls.unread.pop(call, None)
        account.close()
        caller = account.caller
        assert caller is not None, "the call has entered"
        caller.calls -= 1
        if not caller.calls:
            self.callers.forget(caller)
