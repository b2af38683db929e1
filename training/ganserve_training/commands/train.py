"""The command `ganserve train`: train a GAN; resumes after an interruption."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from cyclopts import App

from ganserve._command_framework.command import Command
from ganserve._command_framework.options import UsageError, hint
from ganserve._command_framework.parsing import app_of, help_of
from ganserve._command_framework.process import BAD_USAGE, DONE, FAILED, printable
from ganserve_training.errors import ConfigError, DivergedError, LostProcessError, StoppedError, TrainingError
from ganserve_training.presets.about import ABOUT, LISTED
from ganserve_training.run import launcher_environment as launched

if TYPE_CHECKING:
    from ganserve_training.commands.own_data import Completed
    from ganserve_training.commands.train_arguments import TrainArguments

_ABOUT = """Train a GAN, or resume an interrupted run: the same command continues from the newest checkpoint.

With --data PATH no preset is needed: `ganserve train` looks at the data, chooses preset, size, channels and labels, and
prints them as options. `ganserve train PRESET --help` lists a preset's options with its values."""
_EXAMPLES = (
    "ganserve train mnist                                       # into runs/mnist; resumes if interrupted",
    "ganserve train --data photos/                              # a folder, an archive or a file of your own",
    "ganserve train dcgan --data photos/ --out runs/photos",
    "ganserve train wgan-gp --device cuda --steps 20000 --json",
)


_PREPARATIONS: list[Callable[[], object]] = []


class TrainCommand(Command):
    """The command, whose options depend on the preset and on what replaces its choices.

    Reading its arguments imports PyTorch; listing the presets does not.
    """

    def app(self) -> App:
        """Return the command with a command for each preset, which has its own options."""
        from ganserve_training.commands.train_help import completed_options

        app = app_of("ganserve train", [])
        for preset, about in ABOUT.items():
            app.command(app_of(preset, completed_options(preset), about))
        return app

    def help(self, argv: Sequence[str]) -> str:
        """Return the list of presets, or the help of a preset."""
        preset, *arguments = argv
        if preset not in ABOUT and _names_data(argv) and ABOUT.keys().isdisjoint(argv):
            preset, arguments = "mnist", list(argv)
        if preset in ABOUT:
            from ganserve_training.commands.train_help import preset_help

            return preset_help(preset, arguments)
        if arguments:
            words = [word for word in argv if word not in ABOUT]
            right = " ".join([next((word for word in argv if word in ABOUT), "digits"), *words])
            raise UsageError(f"{' '.join(argv)}: a preset comes first. Write it like this: ganserve train {right}")
        app = app_of("ganserve train", [], _ABOUT)
        app.usage = "ganserve train [PRESET] [OPTIONS]"
        for place, (name, about) in enumerate(LISTED.items()):
            app.command(f"{__name__}:COMMAND", name=name, help=about, group="presets", sort_key=place)
        return help_of(app, self.examples)

    def read(self, argv: Sequence[str]) -> Completed:
        """Return the arguments, how they were written, and what to say about choices."""
        first = argv[0] if argv else ""
        if first not in ABOUT and not (first.startswith("-") and _names_data(argv)):
            if Path(first).exists() and first:
                raise UsageError(f"PRESET {first}: no such preset. Is that your data? Write --data {first}.")
            likely = hint(first, ABOUT, f"Give one of {', '.join(LISTED)}.")
            missing = f"PRESET: missing. Give one of {', '.join(LISTED)}; or give --data PATH, which chooses one."
            raise UsageError(
                missing if not first or first.startswith("-") else f"PRESET {first}: no such preset. {likely}"
            )
        from ganserve_training.commands.unknown_flags import refuse_unknown

        refuse_unknown(first if first in ABOUT else "mnist", argv)
        # OpenMP threads that spin while they wait are 10 % faster on an idle machine, but 67 % slower on a busy one.
        # OpenMP reads it once, when torch is imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from ganserve_training.commands.own_data import completed

        return completed(argv)


def _names_data(argv: Sequence[str]) -> bool:
    return any(word.partition("=")[0] == "--data" for word in argv)


def _run(call: Completed) -> int:
    arguments = call.arguments
    if launched.is_first():
        for line in call.lines:
            sys.stderr.write(f"{printable(line)}\n")
    try:
        if arguments.processes != 1 and not launched.is_launched():
            return _supervise(arguments, call.argv)
        return _train(arguments)
    except StoppedError as stop:
        if launched.is_first():
            sys.stderr.write(f"ganserve train: {stop}\n")
        return 128 + stop.signal_number
    except DivergedError:
        if not launched.is_first():  # All processes see it; the first one reports it.
            return FAILED
        raise
    except LostProcessError:
        if launched.is_supervised():  # The supervisor reports the other process.
            return launched.LOST_PEER_STATUS
        raise


def before_training(prepare: Callable[[], object]) -> None:
    """Let `prepare` be called before a training; it may import torch, which --help does without."""
    if prepare not in _PREPARATIONS:
        _PREPARATIONS.append(prepare)


def _supervise(arguments: TrainArguments, argv: Sequence[str]) -> int:
    """Check the configuration as far as possible, then train in several processes."""
    if arguments.processes < 1:
        raise ConfigError(f"--processes {arguments.processes}: must be at least 1.")
    from ganserve_training.run.compatibility import check_shares
    from ganserve_training.run.devices import check_device
    from ganserve_training.run.process_supervisor import supervise

    check_shares(arguments.config, arguments.processes)
    check_device(arguments.device, arguments.processes)
    with _stop_requests(again=True) as requests:
        return supervise(argv, arguments.processes, arguments.out, requests)


def _train(arguments: TrainArguments) -> int:
    if arguments.processes not in (1, launched.world()):
        raise ConfigError(
            f"--processes {arguments.processes}: torchrun has started {launched.world()} processes. Leave it out."
        )
    for prepare in _PREPARATIONS:
        prepare()
    from ganserve_training.run.start_or_resume import train

    with _stop_requests() as requests:
        result = train(
            arguments.config,
            arguments.out,
            device=arguments.device,
            threads=arguments.threads,
            fit=arguments.fit,
            stop_signal=lambda: requests[0] if requests else signal.SIGTERM if launched.is_orphaned() else None,
        )
    if not launched.is_first():
        return DONE
    out, step, steps, diagnosis = arguments.out, result.step, result.steps, arguments.config.diagnosis
    if arguments.json:
        facts = {"run": str(out), "step": step, "first_step": result.resumed_step, "steps": steps}
        cures = [asdict(cure) for cure in result.cures]
        said = json.dumps(
            {**facts, "stopped_early": result.stopped, "cures": cures, "seconds": round(result.seconds, 3)}
        )
    elif result.stopped:
        kept = "; checkpoints/best-*.pt is the best" if diagnosis.keep_best else ""
        said = (
            f"{out} is finished: it stopped by itself at step {step} of {steps}, after {diagnosis.patience} looks in a "
            f"row with a declined quality{kept}; --diagnosis.patience 0 continues"
        )
    elif step == result.resumed_step:
        said = f"{out} is finished: step {step} of {steps}"
    else:
        said = f"{out} finished: step {step}, {result.seconds:.0f} s of training"
    sys.stdout.write(f"{said}\n")
    return DONE


@contextmanager
def _stop_requests(*, again: bool = False) -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM for the training loop to act on; a second signal ends the process at once.

    Args:
        again: Collect further signals, too.
    """
    requests: list[int] = []

    def request(number: int, _frame: FrameType | None) -> None:
        requests.append(number)
        if not again:
            signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wording(error: Exception) -> str:
    who = "" if launched.is_first() else f"process {launched.rank() + 1} of {launched.world()}: "
    return f"{who}{error}"


COMMAND = TrainCommand(
    name="train",
    arguments=object,  # `read` makes them from the preset.
    action=_run,
    examples=_EXAMPLES,
    exit_codes={ConfigError: BAD_USAGE, TrainingError: FAILED},
    wording=_wording,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
