"""Connect to a Ray cluster."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator

import ray

from ganserve_server.errors import BulkError

_ANSWER_S = 10.0


def check_answers(address: str) -> None:
    """Raise BulkError if nobody listens at HOST:PORT, where Ray would try for many minutes.

    Ray itself judges addresses of other forms, such as auto.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if ray.is_initialized() or not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
    except (OSError, OverflowError) as error:  # OverflowError: no such port
        raise _unreachable(address, getattr(error, "strerror", None) or str(error)) from error


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Stay connected to a cluster inside the block; raise BulkError if it cannot be reached.

    A program that is connected already stays so.
    """
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _unreachable(address, str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    try:
        yield
    finally:
        ray.shutdown()


def _unreachable(address: str, reason: str) -> BulkError:
    fix = "Start a cluster with `ray start --head`, or give the address of one."
    return BulkError(f"--ray {address}: {reason.rstrip('.')}. {fix}")
