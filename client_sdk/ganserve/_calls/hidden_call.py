"""Read and cancel a call that instrumentation hides behind a plain iterator."""

from __future__ import annotations

import contextvars
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import Iterator


class Cancelled(grpc.RpcError):
    """The error of a read that `cancel` ended."""

    def code(self) -> grpc.StatusCode:
        """Return gRPC's status."""
        return grpc.StatusCode.CANCELLED

    def details(self) -> str:
        """Return nothing: no server sent this error."""
        return ""

    def trailing_metadata(self) -> tuple[()]:
        """Return nothing, likewise."""
        return ()


class HiddenCall:
    """The messages of a call whose object an interceptor keeps, as OpenTelemetry's does: it returns a generator.

    A thread reads each message, so that `cancel` can end the wait for it. The call itself ends when its generator is
    closed; if that waits for a message, after this message, or with the connection or the client.
    """

    def __init__(self, messages: Iterator[Any]) -> None:
        self._messages = messages
        self._context = contextvars.copy_context()  # instrumentation keeps the call's span in it
        self._lock = threading.Lock()
        self._reading: Future[Any] | None = None
        self._cancelled = False

    def __next__(self) -> Any:
        with self._lock:
            if self._cancelled:
                raise Cancelled
            reading = self._reading = Future()
        threading.Thread(target=self._read, args=(reading,), name="ganserve-stream", daemon=True).start()
        if (message := reading.result()) is None:
            raise StopIteration
        return message

    def _read(self, reading: Future[Any]) -> None:
        message, error = None, None
        try:
            message = self._context.run(next, self._messages, None)
        except BaseException as raised:  # noqa: BLE001 - the waiting thread raises it
            error = raised
        with self._lock:
            self._reading = None
            if self._cancelled:
                self._close()
            elif error is not None:
                reading.set_exception(error)
            else:
                reading.set_result(message)

    def cancel(self) -> None:
        """End the wait for a message, and the call as soon as possible."""
        with self._lock:
            if self._cancelled:
                return
            self._cancelled = True
            if self._reading is not None:
                self._reading.set_exception(Cancelled())
            else:
                self._close()

    def _close(self) -> None:
        if hasattr(self._messages, "close"):
            self._context.run(self._messages.close)
        self._messages = iter(())  # gRPC cancels calls without references
