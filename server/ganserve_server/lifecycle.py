"""Run a server process: load, serve, stop on a signal, drain, return the exit code."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from ganserve_server.api.grpc.listeners import EVERYTHING
from ganserve_server.api.grpc.server import GrpcServer
from ganserve_server.exposure import check_exposure
from ganserve_server.models.repository import Repository
from ganserve_server.models.trial_process import TrialProcesses
from ganserve_server.monitoring.file_descriptors import watch_descriptors
from ganserve_server.monitoring.logs import announcer
from ganserve_server.pictures.marks import Marking
from ganserve_server.protection import Protection
from ganserve_server.requests.limits import Limits
from ganserve_server.service import GanService
from ganserve_server.settings import MOVABLE, Configuration, ServerConfig, bracketed
from ganserve_server.startup import check_folder, load, marking_of
from ganserve_server.tracing.export import Tracing

if TYPE_CHECKING:
    from ganserve_server.monitoring.metric_collector import ServerCollector

_OK, _CUT_OFF = 0, 1
_CLOSE_S = 2.0  # for model calls that still run when all calls are answered or cut off
_log = logging.getLogger(__name__)


async def serve(
    configuration: Configuration,
    trials: TrialProcesses | None = None,
    begun: Future[tuple[Repository, str]] | None = None,
) -> int:
    """Serve until SIGTERM, SIGINT or SIGHUP, and return the exit code: 0, or 1 if calls were cut off.

    Versions are tried by `trials` before they are loaded. `begun` is a load that runs already.

    Raises StartupError if the server cannot start with this configuration.
    """
    config = configuration.config
    say = announcer(config.log_format, _log)
    check_folder(config)  # Before anything is printed.
    check_exposure(config)
    protection = Protection(config)
    marking = marking_of(config)
    limits = Limits.of(config)
    tracing = Tracing(config.otlp_endpoint, config.otlp_protocol, config.trace_ratio)
    server = make_server(config, limits, protection, tracing)
    port = server.bind(config.address)
    others = bind_parts(config, server)
    with _monitored(config, server, protection, say) as collector:
        say(configuration.report())
        stop = stop_signal()
        loading = asyncio.ensure_future(
            asyncio.to_thread(load, config, trials) if begun is None else asyncio.wrap_future(begun)
        )
        # Leave what is imported out of later collections of garbage, which held the event loop for 40 ms. To collect
        # first would take as long here, and imports leave little.
        gc.freeze()
        await first_of(loading, stop)
        if not loading.done():
            _log.info("stopped while models were being loaded")
            if trials is not None:
                trials.close()
            end_now(_OK)
        repository, report = loading.result()
        if collector is not None:
            collector.follow(repository)
        await start_server(config, server, repository, limits, marking)
        where = config.address if config.address == config.host else f"{config.bracketed_host}:{port}"
        say(f"{report}{others}serving on {where}\n")
        await run_until(stop, config, server, protection, repository, tracing)
    return _OK


def make_server(
    config: ServerConfig, limits: Limits, protection: Protection, tracing: Tracing, *, shares_port: bool = False
) -> GrpcServer:
    """Return the server that the settings describe; with `shares_port` one of several on its ports."""
    return GrpcServer(
        config.access_log,
        limits,
        max_connection_age_s=config.max_connection_age_s,
        max_connection_age_grace_s=config.max_connection_age_grace_s,
        tls=protection.tls,
        guard=protection.guard,
        parts=EVERYTHING - {part for part in MOVABLE if getattr(config, part) != "on"},
        tracer=tracing.tracer,
        shares_port=shares_port,
    )


async def start_server(
    config: ServerConfig, server: GrpcServer, repository: Repository, limits: Limits, marking: Marking
) -> None:
    """Answer calls, and follow changes of the folder of models."""
    await server.start(GanService(repository, limits, marking))
    if config.poll_s:
        repository.watch(config.poll_s)
    gc.freeze()  # the models, too
    gc.enable()


async def run_until(
    stop: asyncio.Event,
    config: ServerConfig,
    server: GrpcServer,
    protection: Protection,
    repository: Repository,
    tracing: Tracing,
) -> None:
    """Serve until `stop` is set, then drain; ends the process, with exit code 1, if calls were cut off."""
    watches = [asyncio.create_task(watch_descriptors()), asyncio.create_task(protection.watch())]
    await stop.wait()
    for watch in watches:
        watch.cancel()
    if config.drain_delay_s:
        _log.info("stopping: health is NOT_SERVING, calls are answered for %g s more", config.drain_delay_s)
    await server.announce_stop(config.drain_delay_s)
    _log.info("stopping: new calls are refused, running calls may take %g s", config.drain_timeout_s)
    cut_off = await server.drain(config.drain_timeout_s)
    await tracing.close()
    try:
        await asyncio.wait_for(asyncio.to_thread(repository.close), _CLOSE_S)
    except TimeoutError:
        _log.warning("a model call still runs after %g s; the process ends anyway", _CLOSE_S)
        end_now()
    if cut_off:  # their threads may still run
        end_now()


def bind_parts(config: ServerConfig, server: GrpcServer) -> str:
    """Open the addresses of parts that have their own, and return a line about each."""
    addresses: dict[str, list[str]] = {}
    for part in MOVABLE:
        if (address := getattr(config, part)) not in ("on", "off"):
            addresses.setdefault(address, []).append(part)
    lines = []
    for address, parts in addresses.items():
        port = server.bind_part(frozenset({"health", *parts}), address)  # type: ignore[arg-type] # they are parts
        host = address.rpartition(":")[0]
        lines.append(f"{' and '.join(parts).replace('_', ' ')} on {host}:{port}\n")
    return "".join(lines)


async def first_of(task: asyncio.Future[Any], event: asyncio.Event) -> None:
    """Wait until the task is done or the event is set."""
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


@contextlib.contextmanager
def _monitored(
    config: ServerConfig, server: GrpcServer, protection: Protection, say: Callable[[str], None]
) -> Iterator[ServerCollector | None]:
    """Answer /metrics, /healthz and /readyz until the block ends, if a port is configured for them."""
    if config.metrics_port is None:
        yield None
        return
    # Both and their HTTP server take a twentieth of the start, so a server without them does not import them.
    from ganserve_server.monitoring.http_endpoint import MonitoringEndpoint
    from ganserve_server.monitoring.metric_collector import ServerCollector, make_registry

    collector = ServerCollector(server.calls, lambda: not server.not_ready_because, protection.metrics)
    endpoint = MonitoringEndpoint(
        config.http_host,
        config.metrics_port,
        make_registry(collector),
        lambda: server.not_ready_because,
        collector.providers,
        protection.tls,
        protection.http,
    )
    scheme = "http" if protection.tls is None else "https"
    say(f"metrics  {scheme}://{bracketed(config.http_host)}:{endpoint.port}/metrics, probes /healthz and /readyz\n")
    try:
        yield collector
    finally:
        endpoint.close()


def stop_signal() -> asyncio.Event:
    """Return an event that SIGTERM, SIGINT and SIGHUP set. A second signal ends the process at once."""
    stop = asyncio.Event()

    def handle() -> None:
        if stop.is_set():
            end_now()
        stop.set()

    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as `nohup` wants
        numbers.append(signal.SIGHUP)
    for number in numbers:
        asyncio.get_running_loop().add_signal_handler(number, handle)
    return stop


def end_now(code: int = _CUT_OFF) -> None:
    """End the process at once: a normal exit would wait for threads in onnxruntime, which cannot be interrupted."""
    logging.shutdown()
    os._exit(code)
