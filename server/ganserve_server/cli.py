"""The command `ganserve serve`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import TYPE_CHECKING

from ganserve_server.errors import GanserveServerError, StartupError
from ganserve_server.settings_sources import read_configuration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ganserve_server.settings_sources import Configuration

_FAILED, _REFUSED, _INTERRUPTED = 1, 2, 130
_log = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> int:
    """Run `ganserve serve` and returns its exit code: 0 stopped, 1 failed or cut calls off, 2 refused to start."""
    try:
        configuration = read_configuration(argv, os.environ)
    except StartupError as error:
        sys.stderr.write(f"ganserve serve: error: {error}\n")
        return _REFUSED
    if configuration.config.log_format == "json":
        # gRPC's core would write lines of its own among them. `monitoring.descriptors` says the one that is missed.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if sys.platform == "linux":
        # gRPC's event engine reads on threads of its own; without it a message changes threads once less on its way to
        # Python. benchmarks/serving/README.md has what that is worth.
        os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
    # onnxruntime and the rest take a third of a second to import; --help and refusals do not wait for them.
    from ganserve_server.monitoring.logs import set_up_logging

    set_up_logging(configuration.config.log_level, configuration.config.log_format)
    try:
        return _run(configuration)
    except StartupError as error:
        return _end(configuration, error, _REFUSED)
    except GanserveServerError as error:
        return _end(configuration, error, _FAILED)
    except KeyboardInterrupt:
        return _INTERRUPTED


def _end(configuration: Configuration, error: GanserveServerError, code: int) -> int:
    if configuration.config.log_format == "json":
        _log.critical("%s", error)
    else:
        sys.stderr.write(f"ganserve serve: error: {error}\n")
    return code


def _run(configuration: Configuration) -> int:
    from ganserve_server.allocator import keep_freed_memory
    from ganserve_server.lifecycle import serve

    keep_freed_memory()
    try:
        import uvloop
    except ImportError:  # no wheels for Windows
        return asyncio.run(serve(configuration))
    return uvloop.run(serve(configuration))
