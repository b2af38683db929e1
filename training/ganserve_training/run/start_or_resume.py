"""Start or resume a training run in its folder."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from rich.console import Console

from ganserve_training.config import TrainConfig
from ganserve_training.config.fitting import Fit
from ganserve_training.config.serialisation import check_same_config
from ganserve_training.data import load_split
from ganserve_training.data.describe_samples import describe_samples
from ganserve_training.data.extremes import extreme_share
from ganserve_training.errors import CheckpointError, ConfigChangedError, ConfigError
from ganserve_training.files import reading, remove_temporary_files
from ganserve_training.networks.own_code import failures_told
from ganserve_training.run import launcher_environment as launched
from ganserve_training.run.allocator import keep_freed_memory, use_huge_pages
from ganserve_training.run.checkpoint import (
    Checkpoint,
    clean_checkpoint_folder,
    load_checkpoint,
    load_latest_checkpoint,
    set_aside_damaged,
)
from ganserve_training.run.devices import DeviceName, cpu_threads, default_threads, open_processes
from ganserve_training.run.distributed import Processes
from ganserve_training.run.healing import Cure, Treatment, TroubleError, heal
from ganserve_training.run.network_questions import try_export
from ganserve_training.run.network_trials import network_notes
from ganserve_training.run.run_folder import RunFolder
from ganserve_training.run.trained_model import config_of
from ganserve_training.run.training_loop import RunLoop, say
from ganserve_training.run.trust import expect_same_code, remember_as_own


@dataclass(frozen=True, slots=True)
class RunResult:
    """Result of one call of `train`."""

    step: int
    """The run's step now."""
    resumed_step: int
    """The step that this call started from; equal to `step` if nothing was left to do."""
    seconds: float
    """Wall time of this call's steps."""
    cpu_seconds: float = 0.0
    """Processor time of this process meanwhile, over all threads."""
    stopped: bool = False
    """True if the run stopped before `config.steps` because its quality declined (`config.diagnosis.patience`)."""
    cures: tuple[Cure, ...] = ()
    """Changes that the run made to its configuration, in this call and before, because it failed."""
    steps: int = 0
    """Steps that the run is to have in all; they may have followed the data."""


@failures_told()
def train(
    config: TrainConfig,
    out: Path,
    *,
    device: DeviceName = "auto",
    threads: int | None = None,
    fit: Fit | None = None,
    console: Console | None = None,
    stop_signal: Callable[[], int | None] = lambda: None,
) -> RunResult:
    """Train in the folder `out` until `config.steps`, from its newest checkpoint if it has one.

    Seeds Python's, NumPy's and torch's global random generators. Processes that torchrun or `ganserve train
    --processes` started share each batch; the first one writes.

    Args:
        config: The run's configuration; a resumed run may change only `steps`, `diagnosis` and `output`.
        out: The run's folder.
        device: Device to train on; auto takes CUDA if there is any.
        threads: CPU threads; None: see `default_threads`.
        fit: Makes values follow the data when the run begins; a resumed run keeps them. None: `config` stays as it is.
        console: Output for progress and messages; None: stderr.
        stop_signal: Called after every step; if it returns a signal's number, write a checkpoint and stop.

    Raises:
        ConfigError: The configuration does not work here: there is no CUDA, or the architecture doesn't fit the data.
        ConfigChangedError: The folder holds a run with another configuration.
        RunLockedError: Another process is training there.
        DataError: The data differ from those that the run was started with.
        DivergedError: A loss or a weight became NaN or infinite, and no cure was left.
        TroubleError: The diagnosis found that training failed, with `on_trouble` "stop".
        StoppedError: `stop_signal` returned a signal.
        CheckpointError: Every checkpoint is damaged, or one can't be written.
        NetworkFailedError: A network of the user's own raised an error.
        LostProcessError: Another of the processes ended.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"--threads {threads}: must be at least 1.")
    config = replace(config, data=config.data.anchored())
    folder = RunFolder(out)
    is_new = not folder.config.exists()
    if fit is not None and not is_new:
        config = fit.resumed(config, folder.read_fitted())
    console = (console or Console(stderr=True)) if launched.is_first() else Console(quiet=True)
    # A single process opens its device later: a finished run needs none.
    processes = open_processes(device) if launched.world() > 1 else None
    with ExitStack() as stack:

        def begin() -> Checkpoint | None:
            stack.enter_context(folder.locked())
            return _find_checkpoint(config, folder, console)

        checkpoint = _shared_checkpoint(begin, processes or Processes())
        step = 0 if checkpoint is None else checkpoint.state["step"]
        if step >= config.steps or (checkpoint is not None and _has_stopped(checkpoint, config)):
            return RunResult(step, step, 0.0, stopped=step < config.steps, steps=config.steps)
        processes = processes or open_processes(device)
        samples = load_split(config.data, "train", report=lambda bad: say(console, f"skipped: {bad.message()}"))
        fitted = None
        if fit is not None and is_new:
            fitted = fit.to_data(config, samples.info, len(samples), extreme_share(samples))
        config = config if fitted is None else fitted.config
        if keep_freed_memory():
            use_huge_pages()
        with cpu_threads(threads or default_threads(samples.info)):
            first_step, started, cpu_started = step, time.perf_counter(), time.process_time()
            treatment = Treatment.of(config, checkpoint)
            if checkpoint is not None:
                expect_same_code(treatment.config, config, checkpoint.path)
            for attempt in count():
                loop = RunLoop(treatment, folder, samples, processes, console, stop_signal)
                if attempt == 0:
                    for line in (describe_samples(samples, config.data), *(fitted.lines if fitted else ())):
                        say(console, line)
                if checkpoint is not None:
                    loop.resume(checkpoint)
                elif processes.writes:
                    notes = network_notes(treatment.config, loop.networks) if attempt == 0 else []
                    for note in (*notes, *try_export(treatment.config, loop.networks, samples.info)):
                        say(console, note)
                if processes.writes:
                    if fitted is not None:
                        folder.write_fitted(fitted.values)
                    folder.write_config(config)
                    if problem := remember_as_own(config):
                        say(console, problem)
                try:
                    stopped = loop.run()
                    break
                except TroubleError as trouble:
                    if not trouble.cure:
                        raise
                    treatment, checkpoint = _healed(folder, treatment, trouble, processes)
                    say(console, str(treatment.cures[-1]))
            seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
            return RunResult(loop.step, first_step, seconds, cpu_seconds, stopped, treatment.cures, config.steps)


def _healed(
    folder: RunFolder, treatment: Treatment, trouble: TroubleError, processes: Processes
) -> tuple[Treatment, Checkpoint | None]:
    """Heal in the first process; the others follow."""

    def first() -> tuple[Treatment, Path | None]:
        healed, checkpoint = heal(folder, treatment, trouble)
        return healed, None if checkpoint is None else checkpoint.path

    healed, path = processes.ask_first(first)
    return healed, None if path is None else load_checkpoint(path)


def _shared_checkpoint(find: Callable[[], Checkpoint | None], processes: Processes) -> Checkpoint | None:
    """Return the result of `find`, called in the first process; the others read the same file."""
    checkpoint = None

    def place() -> tuple[Path, str] | None:
        nonlocal checkpoint
        checkpoint = find()
        return None if checkpoint is None else (checkpoint.path, checkpoint.sha256)

    where = processes.ask_first(place)
    if where is not None and not processes.writes:
        checkpoint = load_checkpoint(where[0])
        if checkpoint.sha256 != where[1]:
            problem = "is not the one that the first process reads"
            raise CheckpointError(f"checkpoint {where[0]}: {problem}. Give all processes the same folder.")
    return checkpoint


def _has_stopped(checkpoint: Checkpoint, config: TrainConfig) -> bool:
    """Return whether the run stopped there because its quality declined, and would stop again."""
    with reading(checkpoint.path, "a checkpoint of ganserve", CheckpointError):
        diagnosis = checkpoint.state.get("diagnosis")
        stopped_after = 0 if diagnosis is None else int(diagnosis["stopped_after"])
    return config.diagnosis.enabled and 0 < config.diagnosis.patience <= stopped_after


def _find_checkpoint(config: TrainConfig, folder: RunFolder, console: Console) -> Checkpoint | None:
    """Tidy the folder and return the checkpoint to resume from; None: start at the beginning."""
    started_with = folder.read_config()
    if started_with is not None:
        check_same_config(started_with, config, where=str(folder.root))
    for part in (folder.root, folder.checkpoints, folder.samples):
        remove_temporary_files(part)
    clean_checkpoint_folder(folder.checkpoints)
    checkpoint = load_latest_checkpoint(
        folder.checkpoints, lambda damage: say(console, f"{damage} Trying the one before it.")
    )
    if checkpoint is not None:
        check_same_config(config_of(checkpoint, "asked"), config, where=str(checkpoint.path))
        if config.steps < checkpoint.state["step"]:
            raise ConfigChangedError(
                f"--steps {config.steps}: {folder.root} is at step {checkpoint.state['step']} already, and a run can't "
                "be made shorter. Choose another --out for a short one."
            )
        set_aside_damaged(folder.checkpoints, checkpoint.path)
    return checkpoint
