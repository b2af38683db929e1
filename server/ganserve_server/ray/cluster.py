"""Connect to a Ray cluster."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import ray

from ganserve_server.errors import BulkError


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
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        fix = "Start a cluster with `ray start --head`, or give the address of one."
        raise BulkError(f"--ray {address}: {reason}. {fix}") from error
    try:
        yield
    finally:
        ray.shutdown()
