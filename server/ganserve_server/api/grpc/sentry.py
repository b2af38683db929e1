"""Make Sentry's spans of calls, where its integration for gRPC is on.

The integration wraps only methods whose requests gRPC reads. Methods here read their requests themselves, so that a
call can be refused unread.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TYPE_CHECKING, Any

from ganserve_server.monitoring.call_tracking import Call, current_call

if TYPE_CHECKING:
    from ganserve_server.api.grpc.gan_service import Context

# Of Sentry's names for statuses, those that are not gRPC's in lower case.
_STATUSES = {"INTERNAL": "internal_error", "UNKNOWN": "unknown_error"}


def traces_calls() -> bool:
    """Return whether the process has set up Sentry with its integration for gRPC; does not import Sentry."""
    sentry: Any = sys.modules.get("sentry_sdk")
    return sentry is not None and sentry.get_client().get_integration("grpc") is not None


def traced_unary(method: Callable[[Any, Context], Any]) -> Callable[[Any, Context], Any]:
    """Return a method with one answer whose calls are spans."""

    async def traced(requests: Any, context: Context) -> Any:
        with _span():
            return await method(requests, context)

    return traced


def traced_stream(method: Callable[[Any, Context], AsyncGenerator[Any]]) -> Callable[[Any, Context], Any]:
    """Return a method that streams answers whose calls are spans."""

    async def traced(requests: Any, context: Context) -> AsyncGenerator[Any]:
        with _span():
            async with contextlib.aclosing(method(requests, context)) as responses:
                async for response in responses:
                    yield response

    return traced


@contextlib.contextmanager
def _span() -> Iterator[None]:
    import sentry_sdk

    call: Call | None = current_call.get()
    assert call is not None
    sent = {key: value for key, value in call.metadata if isinstance(value, str)}
    with sentry_sdk.isolation_scope():
        transaction = sentry_sdk.continue_trace(
            sent, op="grpc.server", name=call.method, source="custom", origin="auto.grpc.ganserve"
        )
        with sentry_sdk.start_transaction(transaction=transaction) as span:
            try:
                yield
            finally:
                span.set_status(_STATUSES.get(call.code, call.code.lower()))
