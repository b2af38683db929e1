"""Run the training loop: log, diagnose, draw and save at the right steps, and stop."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from rich.console import Console
from torch import Tensor

from ganserve_training.config.serialisation import config_to_dict
from ganserve_training.data import Samples
from ganserve_training.diagnosis import Finding, Observation
from ganserve_training.diagnosis.advice import advise
from ganserve_training.diagnosis.cures import CURABLE, MOST_CURES, choose_cure
from ganserve_training.diagnosis.monitor import Monitor
from ganserve_training.errors import CheckpointError, DataError, DivergedError, StoppedError
from ganserve_training.files import reading, write_text_atomically
from ganserve_training.networks import NetworkPair
from ganserve_training.run.checkpoint import Checkpoint, save_best_checkpoint, save_checkpoint
from ganserve_training.run.distributed import Processes
from ganserve_training.run.healing import Treatment, TroubleError, healthy_step
from ganserve_training.run.logs import LogWriter
from ganserve_training.run.memory import out_of_memory_told
from ganserve_training.run.run_folder import RunFolder
from ganserve_training.run.sample_pictures import ProgressPictures
from ganserve_training.run.tensorboard import TensorBoardLog
from ganserve_training.run.time_estimate import Estimate
from ganserve_training.run.training_progress import open_progress
from ganserve_training.run.training_step import Trainer


class RunLoop:
    """Steps of one call of `train`.

    All processes take the same steps and agree when to stop; the first one also writes files and runs the diagnosis.
    `stop_signal` is called after every step: if it returns a signal's number, the loop writes a checkpoint and stops.
    """

    def __init__(
        self,
        treatment: Treatment,
        folder: RunFolder,
        samples: Samples,
        processes: Processes,
        console: Console,
        stop_signal: Callable[[], int | None],
    ) -> None:
        self._treatment = treatment
        self._config = config = treatment.config
        self._folder = folder
        self._samples = samples
        self._console = console
        self._stop_signal = stop_signal
        self._data_sha256 = samples.sha256()
        self._trainer = Trainer(config, samples, processes)
        self._processes = processes
        self._environment = {
            "device": processes.device.type,
            "threads": torch.get_num_threads(),
            "torch": str(torch.__version__),
            "processes": self._processes.world,
        }
        self._pending: list[Tensor] = []  # Measures of the steps since the last line of the log.
        self._last_checkpoint: Path | None = None
        self._diagnosis_state: dict[str, Any] | None = None
        self._outputs: _Outputs | None = None

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint.

        Raises:
            DataError: The data differ from those of the checkpoint.
            CheckpointError: It doesn't fit the networks, or is not a checkpoint of a run.
        """
        with reading(checkpoint.path, "a checkpoint of ganserve", CheckpointError):
            self._resume(checkpoint)

    def _resume(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state
        if state["data_sha256"] != self._data_sha256:
            raise DataError(
                f"{self._folder.root}: the training data changed since it was started. "
                "Restore them, or choose another --out."
            )
        say(self._console, f"{self._folder.root}: resuming from step {state['step']}")
        for name, value in self._environment.items():
            before = state["environment"].get(name, value)  # Older checkpoints have no number of processes.
            if before != value:
                say(
                    self._console,
                    f"note: {name} was {before}, now it is {value}; the weights will differ from those of an "
                    "uninterrupted run, in general by no more than rounding",
                )
        self._last_checkpoint = checkpoint.path
        self._trainer.load_state_dict(state, checkpoint.path)
        self._diagnosis_state = state.get("diagnosis")
        self._pending = [row.to(self._processes.device) for row in state["pending_measures"]]

    def begin_with(
        self, generator: Mapping[str, Tensor], averaged: Mapping[str, Tensor], critic: Mapping[str, Tensor]
    ) -> None:
        """Take weights from elsewhere, and write them as the checkpoint of this step.

        Raise CheckpointError if they don't fit, or can't be written.
        """
        self._trainer.load_weights(generator, averaged, critic, "the weights")
        save_checkpoint(self._folder.checkpoints, self._state(), keep=self._config.output.keep_checkpoints)

    def close(self) -> None:
        """Stop reading data, for a loop that does not run."""
        self._trainer.close()

    @property
    def networks(self) -> NetworkPair:
        """Return the networks that are trained."""
        return self._trainer.networks

    @property
    def step(self) -> int:
        """Return the steps taken so far."""
        return self._trainer.step

    def run(self) -> bool:
        """Train up to the last step; return whether the run stopped earlier because its quality declined.

        Raises:
            TroubleError: The diagnosis found a trouble, and the configuration says not to continue.
        """
        try:
            if self._processes.writes:
                self._outputs = _Outputs(
                    self._trainer, self._samples, self._folder, self._console, self._diagnosis_state
                )
            stopped = self._steps()
            if self._outputs is not None:
                self._outputs.tell_last_word()
            return stopped
        except TroubleError as trouble:
            if self._outputs is not None and not trouble.cure:
                self._outputs.tell_last_word(aloud=False)  # The user sees the error.
            raise
        finally:
            if self._outputs is not None:
                self._outputs.close()
            self._trainer.close()

    def _steps(self) -> bool:
        config, output, trainer, outputs = self._config, self._config.output, self._trainer, self._outputs
        started, samples_before = time.perf_counter(), trainer.samples_seen
        estimate = Estimate(trainer.step, config.steps, grows=trainer.growth is not None)
        if self._treatment.cures and trainer.step == self._treatment.cures[-1].back_to:
            self._save_checkpoint()  # A killed run must not try the former configuration again.
        while trainer.step < config.steps:
            with out_of_memory_told(config):
                self._pending.append(trainer.run_step())
            step, last = trainer.step, trainer.step == config.steps
            stop = self._processes.most(self._stop_signal() or 0)
            if step % output.log_every_steps == 0 or last:
                measures = self._take_measures()
                now, samples_now = time.perf_counter(), trainer.samples_seen
                speed = (samples_now - samples_before) / (now - started)
                started, samples_before = now, samples_now
                if outputs is not None:
                    record = {"step": step, "samples_seen": samples_now, **measures, "samples_per_second": speed}
                    outputs.record(step, record)
            if outputs is not None and estimate.is_due(step):
                if self._processes.device.type == "cuda":
                    torch.cuda.synchronize()  # Steps are only queued until then.
                outputs.say(estimate.sentence(step))
            declined = self._look_if_due()
            if outputs is not None and (step % output.samples_every_steps == 0 or last or declined):
                outputs.draw()
            # Save last: a resumed run then repeats the outputs that a killed run missed.
            if step % output.checkpoint_every_steps == 0 or last or stop or declined:
                self._save_checkpoint()
            if declined:
                return True
            if stop and not last:
                raise StoppedError(stop, step, f"stopped at step {step}: the same command resumes from there")
        return False

    def _look_if_due(self) -> bool:
        """Run the diagnosis if it is due; return whether the run must stop because of it."""
        diagnosis = self._config.diagnosis
        if not diagnosis.enabled or self._trainer.step % self._config.look_interval:
            return False
        stop, trouble = False, None
        if self._outputs is not None:
            better, stop, trouble = self._outputs.look()
            if better is not None and diagnosis.keep_best and self._trainer.weights_are_finite():
                quality = {
                    "name": better.quality_name,
                    "value": better.quality,
                    "higher_is_better": better.higher_is_better,
                }
                save_best_checkpoint(self._folder.checkpoints, self._state(), quality)
        if kind := self._processes.most(0 if trouble is None else 1 + CURABLE.index(trouble.kind)):
            self._face(trouble or Finding(step=self.step, kind=CURABLE[kind - 1], message="", advice=""))
        return bool(self._processes.most(int(stop)))

    def _face(self, trouble: Finding) -> None:
        """End this try of the run if the configuration says so, and a cure is left."""
        cures, cure = len(self._treatment.cures), None
        if self._config.on_trouble == "continue":
            return
        if self._config.on_trouble == "heal" and cures < MOST_CURES:
            cure = choose_cure(trouble.kind, cures, self._config, self._samples.info, self._trainer.check)
        if cure is not None or self._config.on_trouble == "stop":
            raise TroubleError(trouble, cure or {})

    def _take_measures(self) -> dict[str, float]:
        """Average the pending measures and forget them."""
        rows = self._finite_rows()
        self._pending.clear()
        return dict(zip(self._trainer.measures, rows.mean(dim=0).tolist(), strict=True))

    def _finite_rows(self) -> Tensor:
        """Return the pending measures, averaged over processes: [steps, measures]; this waits for the device."""
        self._processes.average(self._pending)
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
        if self._outputs is not None and self._outputs.monitor is not None:
            self._outputs.monitor.note_divergence(f"{what}.")
        self._face(Finding(step=self.step, kind="divergence", message=f"{what}.", advice=""))
        if self._outputs is not None:
            self._outputs.tell_last_word(aloud=False)  # the user sees the error
        advice = advise("divergence", self._config, self._samples.info, self._trainer.check)
        raise DivergedError(f"{what}; training stopped, {kept}. {advice.rstrip('.')}, in another --out")

    def _save_checkpoint(self) -> None:
        if self._pending:
            self._finite_rows()
        self._trainer.share_state()
        if not self._trainer.weights_are_finite():
            self._diverged(f"a weight became NaN or infinite by step {self._trainer.step}")
        if self._outputs is not None:
            keep = self._config.output.keep_checkpoints
            healthy = healthy_step(self._config, self.step)
            self._last_checkpoint = save_checkpoint(
                self._folder.checkpoints, self._state(), keep=keep, healthy_step=healthy
            )
        self._processes.barrier()  # After this, every process knows that it is written.

    def _state(self) -> dict[str, Any]:
        monitor = None if self._outputs is None else self._outputs.monitor
        return {
            **self._trainer.state_dict(),
            "pending_measures": [row.cpu() for row in self._pending],
            "config": config_to_dict(self._config),
            **self._treatment.to_state(),
            "data": self._samples.info.to_dict(),
            "data_sha256": self._data_sha256,
            "environment": self._environment,
            "diagnosis": monitor.state_dict() if monitor is not None else None,
        }


class _Outputs:
    """Files, diagnosis and messages of the process that writes."""

    def __init__(
        self,
        trainer: Trainer,
        samples: Samples,
        folder: RunFolder,
        console: Console,
        diagnosis_state: dict[str, Any] | None,
    ) -> None:
        config = trainer.config
        self._trainer = trainer
        self._folder = folder
        self._board = TensorBoardLog(folder.tensorboard, trainer.step) if config.output.tensorboard else None
        self._pictures = ProgressPictures(trainer, samples)
        self._pictures.save_real(folder.real_samples)
        self.monitor: Monitor | None = None
        self._view = open_progress(console, trainer.step, config.steps)
        self._log = LogWriter(folder.log, trainer.step)
        folder.last_word.unlink(missing_ok=True)  # It was about an earlier end.
        if config.diagnosis.enabled:
            self.monitor = Monitor(trainer, samples, folder, self._view.say)
            if diagnosis_state is not None:
                self.monitor.load_state_dict(diagnosis_state)

    def record(self, step: int, record: dict[str, float]) -> None:
        """Write a line of the log and show it."""
        self._log.write(record)
        self._view.show(step, record)
        if self._board is not None:
            self._board.record(step, record)

    def say(self, sentence: str) -> None:
        """Print a line to the user."""
        self._view.say(sentence)

    def look(self) -> tuple[Observation | None, bool, Finding | None]:
        """Run the diagnosis; return its observation if that is the best so far, whether to stop, and a trouble."""
        assert self.monitor is not None
        look = self.monitor.look()
        if look is None:
            return None, False, None
        if self._board is not None:
            self._board.observation(look.observation)
            for finding in look.findings:
                self._board.finding(finding)
        return look.observation if look.is_best else None, self.monitor.should_stop, look.trouble

    def tell_last_word(self, *, aloud: bool = True) -> None:
        """Write the monitor's last word into the run's folder, and print it if `aloud`."""
        word = None if self.monitor is None else self.monitor.last_word()
        if word is None:
            return
        write_text_atomically(self._folder.last_word, json.dumps(word.to_dict()) + "\n")
        if aloud:
            self._view.say(word.sentence)

    def draw(self) -> None:
        """Save a picture of samples."""
        picture = self._pictures.save(self._folder.samples)
        if self._board is not None:
            self._board.picture(self._trainer.step, picture)

    def close(self) -> None:
        """Close files and the progress display."""
        self._view.close()
        self._log.close()
        if self.monitor is not None:
            self.monitor.close()
        if self._board is not None:
            self._board.close()


def say(console: Console, message: str) -> None:
    """Print a message to the user without markup."""
    console.print(message, markup=False, emoji=False, highlight=False, soft_wrap=True)
