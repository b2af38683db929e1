"""Begin and end the traces of calls."""

import logging
import time

from ganserve_server.monitoring.access_log import model_of
from ganserve_server.monitoring.call_tracking import Call
from ganserve_server.tracing.spans import CallTracer, running_trace

_log = logging.getLogger(__name__)


def begin_trace(tracer: CallTracer, call: Call) -> None:
    """Begin the trace of a call in its task, so that what runs there, and what that starts, adds to it."""
    try:
        call.trace = tracer.begin(call.method, call.metadata, time.perf_counter() - call.started)
    except Exception:  # noqa: BLE001 - the call matters more
        _log.exception("%s could not be traced", call.method)
    running_trace.set(call.trace)


def end_trace(call: Call) -> None:
    """End the trace of a call with its status, and what is known about it now."""
    assert call.trace is not None, "it has begun"
    named = {"request_id": call.request_id, "model": model_of(call.request), "caller": call.identity}
    call.trace.end(call.code, {f"ganserve.{name}": value for name, value in named.items() if value})
