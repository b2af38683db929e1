"""``ganserve train``: train a preset in a run folder, or go on with a run that was interrupted."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal

import tyro

from ganserve_training.config import TrainConfig
from ganserve_training.errors import ConfigError, StoppedError, TrainingError
from ganserve_training.presets import PRESETS

_USAGE = """usage: ganserve train PRESET [--out RUN] [OPTIONS]

Train a GAN, or go on with a run that was interrupted: the same command resumes at the newest checkpoint.

presets:
  {presets}

`ganserve train PRESET --help` lists the preset's options with its values.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainArguments:
    """Where and on what to train."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")]
    """The preset's values, each of which a flag replaces."""
    out: Path
    """The run's folder. An existing run goes on where it stopped."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU if torch can use one."""
    threads: int | None = None
    """CPU threads; one for images up to 16 x 16 pixels, else all cores, at most 8."""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    usage = _USAGE.format(presets="\n  ".join(PRESETS))
    if not argv or argv[0] in ("-h", "--help"):
        (sys.stdout if argv else sys.stderr).write(usage)
        return 0 if argv else 2
    preset = argv[0]
    if preset not in PRESETS:
        return _fail(f"unknown preset {preset!r}; there is: {', '.join(PRESETS)}. See ganserve train --help", 2)
    try:
        arguments = tyro.cli(
            TrainArguments,
            args=list(argv[1:]),
            default=TrainArguments(config=PRESETS[preset], out=Path("runs") / preset),
            prog=f"ganserve train {preset}",
            description="Train a GAN, or go on with a run that was interrupted.",
        )
        return _train(arguments)
    except KeyboardInterrupt:  # Before the first step; later ones are for the training loop to act on.
        return 130
    except ConfigError as error:
        return _fail(str(error), 2)
    except StoppedError as stop:
        sys.stderr.write(f"ganserve train: {stop}\n")
        return 128 + stop.signal_number
    except TrainingError as error:
        return _fail(str(error), 1)
    except BrokenPipeError:
        raise  # Whoever read the output has seen enough; the command line ends quietly.
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)


def _train(arguments: TrainArguments) -> int:
    from ganserve_training.training_run import is_first_process, train

    with _stop_requests() as requests:
        result = train(
            arguments.config,
            arguments.out,
            device=arguments.device,
            threads=arguments.threads,
            stop_signal=lambda: requests[0] if requests else None,
        )
    if not is_first_process():
        return 0
    if result.stopped:
        patience = arguments.config.diagnosis.patience
        sys.stdout.write(
            f"{arguments.out} is finished: it stopped by itself at step {result.step} of {arguments.config.steps}, "
            f"after {patience} looks at a declined quality; checkpoints/best-*.pt is the best, "
            "--diagnosis.patience 0 goes on\n"
        )
    elif result.step == result.resumed_step:
        sys.stdout.write(f"{arguments.out} is finished: step {result.step} of {arguments.config.steps}\n")
    else:
        sys.stdout.write(f"{arguments.out} finished: step {result.step}, {result.seconds:.0f} s of training\n")
    return 0


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM for the training loop to act on; a second signal ends the process at once."""
    requests: list[int] = []

    def request(number: int, _frame: FrameType | None) -> None:
        requests.append(number)
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _fail(message: str, status: int) -> int:
    sys.stderr.write(f"ganserve train: error: {message}\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
