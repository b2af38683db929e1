"""Run a server process: load, serve, stop on a signal, drain, return the exit code."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator

from ganserve_server.api.grpc.server import GrpcServer
from ganserve_server.models.trial_process import TrialProcesses
from ganserve_server.monitoring.file_descriptors import watch_descriptors
from ganserve_server.monitoring.http_endpoint import MonitoringEndpoint
from ganserve_server.monitoring.metric_collector import ServerCollector, make_registry
from ganserve_server.requests.limits import Limits
from ganserve_server.service import GanService
from ganserve_server.settings import Configuration, ServerConfig
from ganserve_server.startup import check_folder, load

_OK, _CUT_OFF = 0, 1
_CLOSE_S = 2.0  # for model calls that still run when all calls are answered or cut off
_log = logging.getLogger(__name__)


async def serve(configuration: Configuration, trials: TrialProcesses | None = None) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit code: 0, or 1 if calls were cut off.

    Versions are tried by `trials` before they are loaded.

    Raises StartupError if the server cannot start with this configuration.
    """
    config = configuration.config
    say = _log_lines if config.log_format == "json" else _print
    check_folder(config)  # Before anything is printed.
    limits = Limits.of(config)
    server = GrpcServer(config.access_log, limits)
    port = server.bind(config.address)
    with _monitored(config, server, say) as collector:
        say(configuration.report())
        # While models load, SIGTERM ends the process at once, which is its default.
        repository, report = await asyncio.to_thread(load, config, trials)
        stop = _stop_signal()
        if collector is not None:
            collector.follow(repository)
        await server.start(GanService(repository, limits))
        if config.poll_s:
            repository.watch(config.poll_s)
        # Leave what is loaded out of later collections of garbage, which held the event loop for 40 ms.
        gc.collect()
        gc.freeze()
        say(f"{report}serving on {config.bracketed_host}:{port}\n")
        descriptors = asyncio.create_task(watch_descriptors())
        await stop.wait()
        descriptors.cancel()
        _log.info("stopping: new calls are refused, running calls may take %g s", config.drain_timeout_s)
        cut_off = await server.drain(config.drain_timeout_s)
        try:
            await asyncio.wait_for(asyncio.to_thread(repository.close), _CLOSE_S)
        except TimeoutError:
            _log.warning("a model call still runs after %g s; the process ends anyway", _CLOSE_S)
            _end_now()
        if cut_off:  # their threads may still run
            _end_now()
    return _OK


@contextlib.contextmanager
def _monitored(
    config: ServerConfig, server: GrpcServer, say: Callable[[str], None]
) -> Iterator[ServerCollector | None]:
    """Answer /metrics, /healthz and /readyz until the block ends, if a port is configured for them."""
    if config.metrics_port is None:
        yield None
        return
    collector = ServerCollector(server.calls, lambda: not server.not_ready_because)
    endpoint = MonitoringEndpoint(
        config.host,
        config.metrics_port,
        make_registry(collector),
        lambda: server.not_ready_because,
        collector.providers,
    )
    say(f"metrics  http://{config.bracketed_host}:{endpoint.port}/metrics, probes /healthz and /readyz\n")
    try:
        yield collector
    finally:
        endpoint.close()


def _stop_signal() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set. A second signal ends the process at once."""
    stop = asyncio.Event()

    def handle() -> None:
        if stop.is_set():
            _end_now()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, handle)
    return stop


def _end_now() -> None:
    """End the process at once: a normal exit would wait for threads in onnxruntime, which cannot be interrupted."""
    logging.shutdown()
    os._exit(_CUT_OFF)


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _log_lines(text: str) -> None:
    for line in text.splitlines():
        _log.info("%s", line)
