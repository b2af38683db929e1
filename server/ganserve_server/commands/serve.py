"""The command `ganserve serve`: serve model packages over gRPC."""

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence

from ganserve._command_framework.command import Command
from ganserve._command_framework.first_process import end_by_signal
from ganserve._command_framework.process import BAD_USAGE, FAILED, complain
from ganserve_server.control_groups import usable_memory
from ganserve_server.errors import GanserveServerError, StartupError
from ganserve_server.models.trial_process import TrialProcesses
from ganserve_server.settings import Configuration, ServerConfig
from ganserve_server.settings_sources import blame, read_configuration

_log = logging.getLogger(__name__)


class ServeCommand(Command):
    """The command, whose settings come from flags, the environment and a file."""

    def read(self, argv: Sequence[str]) -> Configuration:
        """Return the settings of all sources."""
        return read_configuration(argv, os.environ)


def _serve(configuration: Configuration) -> int:
    # A stop before the start is as good as one after it. `lifecycle` sets its own handlers before models load.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) in (signal.SIG_DFL, end_by_signal):
            signal.signal(number, lambda *_: os._exit(0))
    as_json = configuration.config.log_format == "json"
    # gRPC's core would write lines into the JSON. `monitoring.file_descriptors` reports the one that matters. Without a
    # level it writes a line for each failed handshake, so that strangers could fill the log.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE" if as_json else "ERROR")
    if sys.platform == "linux":
        # gRPC's event engine reads on its own threads. Without it a message changes threads once less on its way to
        # Python: benchmarks/serving/README.md.
        os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
    if configuration.config.processes != 1 and (code := _serve_by_several(configuration)) is not None:
        return code
    trials = _start_trials(configuration.config)
    gc.disable()  # until models are loaded: imports make no garbage, and searching for it takes a tenth of the start
    # onnxruntime and the rest take a third of a second to import; --help and refusals do not wait for them.
    from ganserve_server.monitoring.logs import set_up_logging

    set_up_logging(configuration.config.log_level, configuration.config.log_format)
    try:
        return _run(configuration, trials)
    except GanserveServerError as error:
        return _failed(configuration, error)
    finally:
        gc.enable()
        trials.close()


def _serve_by_several(configuration: Configuration) -> int | None:
    """Serve by several processes and return the exit code; None if one process is to serve alone."""
    from ganserve_server.monitoring.logs import set_up_logging
    from ganserve_server.processes.number import choose_processes
    from ganserve_server.processes.serving import serve

    config = configuration.config
    set_up_logging(config.log_level, config.log_format)
    try:
        processes, why = choose_processes(config)
        if processes == 1:
            _log.info("processes 1%s", why)
            return None
        return asyncio.run(serve(configuration, processes, why))
    except GanserveServerError as error:
        return _failed(configuration, error)


def _failed(configuration: Configuration, error: GanserveServerError) -> int:
    """Report why the server cannot start, and return the exit code."""
    text = blame(error, configuration.sources)
    if configuration.config.log_format == "json":
        _log.critical("%s", text)
    else:
        complain(f"ganserve serve: error: {text}")
    return BAD_USAGE if isinstance(error, StartupError) else FAILED


def _start_trials(config: ServerConfig) -> TrialProcesses:
    """Start the process that tries packages, which imports what it needs while this one does the same."""
    memory_bytes = config.load_memory_mib * 2**20 or usable_memory() // 2
    trials = TrialProcesses(timeout_s=config.load_timeout_s, memory_bytes=memory_bytes)
    if config.folder.is_dir():
        trials.start()
    return trials


def _run(configuration: Configuration, trials: TrialProcesses) -> int:
    from ganserve_server.allocator import keep_freed_memory
    from ganserve_server.startup import begin_load

    keep_freed_memory(configuration.config.memory_limit_mib)
    quiet = threading.Lock()
    with quiet:
        begun = begin_load(configuration.config, trials, quiet)
        from ganserve_server.lifecycle import serve  # takes as long as a small model's trial
    try:
        import uvloop
    except ImportError:  # no wheels for Windows
        return asyncio.run(serve(configuration, trials, begun))
    return uvloop.run(serve(configuration, trials, begun))


COMMAND = ServeCommand(
    name="serve",
    arguments=ServerConfig,
    action=_serve,
    examples=(
        "ganserve serve --models models",
        "ganserve serve --models models --metrics-port 9464 --log-format json",
        "ganserve serve --host 0.0.0.0 --tls-certificate server.pem --tls-key server.key --identities identities.toml",
        "GANSERVE_PROVIDER=cuda ganserve serve --config ganserve.toml",
    ),
)
main = COMMAND.main
