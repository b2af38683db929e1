"""A training run in a folder: start or resume, checkpoints, log, pictures, and a good end whatever happens."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning_fabric
import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from ganserve_training.checkpoint import clean_checkpoint_folder, load_latest_checkpoint, save_checkpoint
from ganserve_training.config import TrainConfig
from ganserve_training.config_io import check_same_config, config_from_dict, config_to_dict
from ganserve_training.data import Images, load_split
from ganserve_training.errors import ConfigError, DataError, DivergedError, StoppedError
from ganserve_training.files import remove_temporary_files
from ganserve_training.grids import save_sample_grid
from ganserve_training.logs import LogWriter
from ganserve_training.progress import ProgressView, open_progress
from ganserve_training.run_folder import RunFolder
from ganserve_training.trained import draw_samples
from ganserve_training.trainer import Trainer

DeviceName = Literal["auto", "cpu", "cuda"]
GRID_COLUMNS = 10
_GRID_SEED = 0
CHECKPOINT_FORMAT = 1


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a call of :func:`train` ended."""

    step: int
    """The run's step now, which is ``config.steps``."""
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

    Args:
        config: the run's configuration; on resume it must be the one that the run was started with, but for ``steps``
            and ``output``.
        out: the run's folder.
        device: where to compute; auto takes CUDA if there is any.
        threads: CPU threads; None: see :func:`default_threads`.
        console: where progress and messages go; None: stderr.
        stop_signal: asked after every step; a number: write a checkpoint and stop because of that signal.

    Raises:
        ConfigChangedError: the folder holds a run with another configuration.
        RunLockedError: another process is training there.
        DataError: the data are not those that the run was started with.
        DivergedError: a loss or a weight became NaN or infinite.
        StoppedError: ``stop_signal`` said so.
        CheckpointError: every checkpoint is damaged.
    """
    fabric = _open_fabric(device)
    torch.set_num_threads(threads or default_threads())
    folder = RunFolder(out)
    console = console or Console(stderr=True)
    with folder.locked():
        return _Run(config, folder, fabric, console, stop_signal).finish()


def default_threads() -> int:
    """CPU threads that training uses: all cores that this process may run on, at most 8."""
    return min(8, len(os.sched_getaffinity(0)))


def _open_fabric(device: DeviceName) -> lightning_fabric.Fabric:
    if device == "cuda" and not torch.cuda.is_available():
        build = "is built without CUDA" if torch.version.cuda is None else "finds no usable NVIDIA GPU"
        raise ConfigError(f"--device cuda: torch {torch.__version__} {build}: use --device cpu or auto")
    accelerator = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    return lightning_fabric.Fabric(accelerator=accelerator, devices=1, precision="32-true")


class _Run:
    """One call of :func:`train`, inside the lock."""

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        fabric: lightning_fabric.Fabric,
        console: Console,
        stop_signal: Callable[[], int | None],
    ) -> None:
        self._config = config
        self._folder = folder
        self._fabric = fabric
        self._console = console
        self._stop_signal = stop_signal
        self._clean()
        started_with = folder.read_config()
        if started_with is not None:
            check_same_config(started_with, config, where=str(folder.root))
        self._images: Images = load_split(config.data, "train")
        self._data_sha256 = self._images.sha256()
        self._trainer = Trainer(config, self._images, fabric)
        self._pending: list[Tensor] = []  # Measures of the steps since the last line of the log.
        self._last_checkpoint: Path | None = None
        self._resume()
        folder.write_config(config)

    def finish(self) -> RunResult:
        """Train up to the last step."""
        first_step = self._trainer.step
        if first_step >= self._config.steps:
            return RunResult(first_step, first_step, 0.0)
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
            if step % output.checkpoint_every_steps == 0 or last or stop is not None:
                self._save_checkpoint()
            if step % output.samples_every_steps == 0 or last:
                self._save_samples()
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

    def _diverged(self, what: str) -> None:
        kept = (
            f"The last good checkpoint is {self._last_checkpoint}."
            if self._last_checkpoint
            else "There was no checkpoint yet."
        )
        raise DivergedError(
            f"{what}; training stopped. {kept} Try, in a new --out: a lower "
            "--optimisers.critic.learning-rate.start and --optimisers.generator.learning-rate.start (half of them), "
            "or a higher --regularisers.r1-gamma.start and --regularisers.r2-gamma.start."
        )

    def _save_checkpoint(self) -> None:
        if self._pending:
            self._finite_rows()
        if not self._trainer.weights_are_finite():
            self._diverged(f"a weight became NaN or infinite by step {self._trainer.step}")
        state: dict[str, Any] = {
            "format": CHECKPOINT_FORMAT,
            **self._trainer.state_dict(),
            "pending_measures": [row.cpu() for row in self._pending],
            "config": config_to_dict(self._config),
            "data": self._images.info.to_dict(),
            "data_sha256": self._data_sha256,
        }
        self._last_checkpoint = save_checkpoint(
            self._folder.checkpoints, state, keep=self._config.output.keep_checkpoints
        )

    def _save_samples(self) -> None:
        networks = self._config.networks
        labels = None
        rows = max(1, len(self._images.label_names))
        if self._images.labels is not None:
            labels = np.repeat(np.arange(rows, dtype=np.int64), GRID_COLUMNS)
        pixels = draw_samples(
            self._trainer.ema.module, networks.latent_dim, labels, rows * GRID_COLUMNS, seed=_GRID_SEED
        )
        save_sample_grid(self._folder.samples / f"step-{self._trainer.step:08d}.png", pixels, GRID_COLUMNS)

    def _clean(self) -> None:
        for part in (self._folder.root, self._folder.checkpoints, self._folder.samples):
            remove_temporary_files(part)
        clean_checkpoint_folder(self._folder.checkpoints)

    def _resume(self) -> None:
        checkpoint = load_latest_checkpoint(
            self._folder.checkpoints, lambda message: self._console.print(message, markup=False, soft_wrap=True)
        )
        if checkpoint is None:
            return
        state = checkpoint.state
        check_same_config(config_from_dict(state["config"]), self._config, where=str(checkpoint.path))
        if state["data_sha256"] != self._data_sha256:
            raise DataError(
                f"the training data changed since {self._folder.root} was started: "
                "restore them, or choose another --out"
            )
        self._trainer.load_state_dict(state)
        self._pending = list(state["pending_measures"])
        self._last_checkpoint = checkpoint.path
        self._console.print(
            f"resuming {self._folder.root} at step {state['step']}", markup=False, highlight=False, soft_wrap=True
        )
