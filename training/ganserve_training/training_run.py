"""A training run in a folder: start or resume, checkpoints, log, pictures, and a good end whatever happens."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from ganserve_training.checkpoint import (
    Checkpoint,
    clean_checkpoint_folder,
    load_latest_checkpoint,
    save_checkpoint,
    set_aside_damaged,
)
from ganserve_training.config import TrainConfig
from ganserve_training.config_io import check_same_config, config_from_dict, config_to_dict
from ganserve_training.data import Samples, load_split
from ganserve_training.devices import DeviceName, cpu_threads, default_threads, open_fabric
from ganserve_training.errors import ConfigChangedError, ConfigError, DataError, DivergedError, StoppedError
from ganserve_training.files import remove_temporary_files
from ganserve_training.grids import save_sample_grid
from ganserve_training.logs import LogWriter
from ganserve_training.progress import ProgressView, open_progress
from ganserve_training.run_folder import RunFolder
from ganserve_training.trained import draw_samples
from ganserve_training.trainer import Trainer

if TYPE_CHECKING:
    from lightning_fabric import Fabric

GRID_COLUMNS = 10
GRID_SEED = 0


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a call of :func:`train` ended."""

    step: int
    """The run's step now, at least ``config.steps``."""
    resumed_step: int
    """The step that this call started from; the same as step: there was nothing left to do."""
    seconds: float
    """Wall time of this call's steps."""


def train(
    config: TrainConfig,
    out: Path,
    *,
    device: DeviceName = "auto",
    threads: int | None = None,
    console: Console | None = None,
    stop_signal: Callable[[], int | None] = lambda: None,
) -> RunResult:
    """Train in the folder ``out`` until ``config.steps``, from its newest checkpoint if it has one.

    Seeds Python's, NumPy's and torch's global random generators.

    Args:
        config: the run's configuration; on resume it must be the one that the run was started with, but for ``steps``
            and ``output``.
        out: the run's folder.
        device: where to compute; auto takes CUDA if there is any.
        threads: CPU threads; None: see :func:`ganserve_training.devices.default_threads`.
        console: where progress and messages go; None: stderr.
        stop_signal: asked after every step; a number: write a checkpoint and stop because of that signal.

    Raises:
        ConfigError: the configuration can't be had here: no CUDA, or an architecture that doesn't fit the data.
        ConfigChangedError: the folder holds a run with another configuration.
        RunLockedError: another process is training there.
        DataError: the data are not those that the run was started with.
        DivergedError: a loss or a weight became NaN or infinite.
        StoppedError: ``stop_signal`` said so.
        CheckpointError: every checkpoint is damaged.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"--threads must be at least 1 (got {threads})")
    folder = RunFolder(out)
    console = console or Console(stderr=True)
    with folder.locked():
        checkpoint = _find_checkpoint(config, folder, console)
        if checkpoint is not None and checkpoint.state["step"] >= config.steps:
            return RunResult(checkpoint.state["step"], checkpoint.state["step"], 0.0)
        fabric = open_fabric(device)
        samples = load_split(config.data, "train")
        with cpu_threads(threads or default_threads(samples.info)):
            run = _Run(config, folder, samples, fabric, console, stop_signal)
            if checkpoint is not None:
                run.resume(checkpoint)
            folder.write_config(config)
            return run.finish()


def _find_checkpoint(config: TrainConfig, folder: RunFolder, console: Console) -> Checkpoint | None:
    """Tidy the folder and find where this configuration goes on; None: at the beginning."""
    started_with = folder.read_config()
    if started_with is not None:
        check_same_config(started_with, config, where=str(folder.root))
    for part in (folder.root, folder.checkpoints, folder.samples):
        remove_temporary_files(part)
    clean_checkpoint_folder(folder.checkpoints)
    checkpoint = load_latest_checkpoint(folder.checkpoints, lambda message: _say(console, message))
    if checkpoint is not None:
        check_same_config(config_from_dict(checkpoint.state["config"]), config, where=str(checkpoint.path))
        if config.steps < checkpoint.state["step"]:
            raise ConfigChangedError(
                f"{folder.root} is at step {checkpoint.state['step']} already (got --steps {config.steps}): a run "
                "can be made longer, not shorter; choose another --out for a short one"
            )
        set_aside_damaged(folder.checkpoints, checkpoint.path)
    return checkpoint


class _Run:
    """One call of :func:`train`, inside the lock."""

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        samples: Samples,
        fabric: "Fabric",
        console: Console,
        stop_signal: Callable[[], int | None],
    ) -> None:
        self._config = config
        self._folder = folder
        self._samples = samples
        self._console = console
        self._stop_signal = stop_signal
        self._data_sha256 = samples.sha256()
        self._device = fabric.device
        self._trainer = Trainer(config, samples, fabric)
        self._environment = {
            "device": fabric.device.type,
            "threads": torch.get_num_threads(),
            "torch": str(torch.__version__),
        }
        self._pending: list[Tensor] = []  # Measures of the steps since the last line of the log.
        self._last_checkpoint: Path | None = None

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""
        state = checkpoint.state
        if state["data_sha256"] != self._data_sha256:
            raise DataError(
                f"the training data changed since {self._folder.root} was started: "
                "restore them, or choose another --out"
            )
        _say(self._console, f"{self._folder.root}: going on from step {state['step']}")
        for name, value in self._environment.items():
            if state["environment"][name] != value:
                _say(
                    self._console,
                    f"note: {name} was {state['environment'][name]}, now it is {value}; "
                    "the weights will differ in rounding from those of an uninterrupted run",
                )
        self._last_checkpoint = checkpoint.path
        self._trainer.load_state_dict(state)
        self._pending = [row.to(self._device) for row in state["pending_measures"]]

    def finish(self) -> RunResult:
        """Train up to the last step."""
        first_step = self._trainer.step
        log = LogWriter(self._folder.log, first_step)
        view = open_progress(self._console, first_step, self._config.steps)
        started = time.perf_counter()
        try:
            self._loop(log, view)
        finally:
            view.close()
            log.close()
        return RunResult(self._trainer.step, first_step, time.perf_counter() - started)

    def _loop(self, log: LogWriter, view: ProgressView) -> None:
        config, output, trainer = self._config, self._config.output, self._trainer
        interval_started, interval_first = time.perf_counter(), trainer.step
        while trainer.step < config.steps:
            self._pending.append(trainer.run_step())
            step, last = trainer.step, trainer.step == config.steps
            stop = self._stop_signal()
            if step % output.log_every_steps == 0 or last:
                measures = self._take_measures()
                now = time.perf_counter()
                speed = (step - interval_first) * config.batch_size / (now - interval_started)
                interval_started, interval_first = now, step
                record = {"step": step, "samples_seen": trainer.samples_seen, **measures, "samples_per_second": speed}
                log.write(record)
                view.show(step, record)
            if step % output.samples_every_steps == 0 or last:
                self._save_samples()
            # Last, so that whatever a killed run leaves out is written again after this checkpoint.
            if step % output.checkpoint_every_steps == 0 or last or stop is not None:
                self._save_checkpoint()
            if stop is not None and not last:
                raise StoppedError(stop, step, f"stopped at step {step}: the same command goes on from there")

    def _take_measures(self) -> dict[str, float]:
        """Average the pending measures and forget them."""
        rows = self._finite_rows()
        self._pending.clear()
        return dict(zip(self._trainer.measures, rows.mean(dim=0).tolist(), strict=True))

    def _finite_rows(self) -> Tensor:
        """The pending measures, [steps, measures]; reading them waits for the device."""
        rows = torch.stack(self._pending).cpu()
        bad = (~rows.isfinite()).nonzero()
        if len(bad):
            row, column = bad[0].tolist()
            step = self._trainer.step - len(rows) + row + 1
            self._diverged(f"{self._trainer.measures[column]} became {rows[row, column].item()} at step {step}")
        return rows

    def _diverged(self, what: str) -> NoReturn:
        kept = "there was no checkpoint yet"
        if self._last_checkpoint is not None:
            kept = f"the last good checkpoint is {self._last_checkpoint}"
        raise DivergedError(
            f"{what}; training stopped, {kept}. Try, in another --out, half the learning rates "
            "(--optimisers.critic.learning-rate.start, --optimisers.generator.learning-rate.start) "
            "or ten times the penalties (--regularisers.r1-gamma.start, --regularisers.r2-gamma.start)"
        )

    def _save_checkpoint(self) -> None:
        if self._pending:
            self._finite_rows()
        if not self._trainer.weights_are_finite():
            self._diverged(f"a weight became NaN or infinite by step {self._trainer.step}")
        state: dict[str, Any] = {
            **self._trainer.state_dict(),
            "pending_measures": [row.cpu() for row in self._pending],
            "config": config_to_dict(self._config),
            "data": self._samples.info.to_dict(),
            "data_sha256": self._data_sha256,
            "environment": self._environment,
        }
        self._last_checkpoint = save_checkpoint(
            self._folder.checkpoints, state, keep=self._config.output.keep_checkpoints
        )

    def _save_samples(self) -> None:
        """Write the averaged generator's samples for fixed latents, one row a label."""
        labels = None
        data = self._samples.info
        rows = max(1, len(data.label_names))
        if data.label_names:
            labels = np.repeat(np.arange(rows, dtype=np.int64), GRID_COLUMNS)
        generator, prior = self._trainer.ema.module, self._trainer.prior
        pixels = draw_samples(generator, prior, data, labels, rows * GRID_COLUMNS, seed=GRID_SEED)
        save_sample_grid(self._folder.samples / f"step-{self._trainer.step:08d}.png", pixels, GRID_COLUMNS)


def _say(console: Console, message: str) -> None:
    console.print(message, markup=False, highlight=False, soft_wrap=True)
