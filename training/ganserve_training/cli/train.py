"""`ganserve train`: train a preset in a run folder, or go on with a run that was interrupted."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal

import tyro

from ganserve_training.cli.flags import in_flags
from ganserve_training.cli.parsing import parse
from ganserve_training.config import TrainConfig, allowed_choices, with_choices
from ganserve_training.config.serialisation import anneals
from ganserve_training.errors import ConfigError, DivergedError, LostProcessError, StoppedError, TrainingError
from ganserve_training.networks.growth import GrowthConfig
from ganserve_training.options.checks import flag
from ganserve_training.presets import ABOUT, PRESETS
from ganserve_training.run import launcher_environment as launched

_USAGE = """usage: ganserve train PRESET [--out RUN] [OPTIONS]

Train a GAN, or go on with a run that was interrupted: the same command resumes at the newest checkpoint.

presets:
  {presets}

`ganserve train PRESET --help` lists the preset's options with its values.

examples:
{examples}
"""
_EXAMPLES = (
    "ganserve train digits                                      # into runs/digits, or on from where it stopped",
    "ganserve train dcgan-32 --data.source folder --data.path photos/ --out runs/photos",
    "ganserve train wgan-gp-32 --device cuda --steps 20000 --json",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainArguments:
    """Where and on what to train."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")]
    """The preset's values, each of which a flag replaces."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="PATH")]
    """The run's folder. An existing run goes on where it stopped."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU if torch can use one."""
    threads: int | None = None
    """CPU threads of each process; one for images up to 16 x 16 pixels, else all cores, at most 8, shared evenly."""
    processes: int = 1
    """Processes on this machine that share each batch, each with a GPU of its own where there are any; torchrun does
    the same over several machines."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print what came of it as one JSON object; progress goes to stderr all the same."""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    width = max(map(len, PRESETS))
    presets = "\n  ".join(f"{name:{width}}  {ABOUT[name]}" for name in PRESETS)
    usage = _USAGE.format(presets=presets, examples="\n".join(f"  {line}" for line in _EXAMPLES))
    if not argv or argv[0] in ("-h", "--help"):
        (sys.stdout if argv else sys.stderr).write(usage)
        return 0 if argv else 2
    preset = argv[0]
    if preset not in PRESETS:
        return _fail(f"no such preset: {preset!r}; there is {', '.join(PRESETS)}", 2)
    argv = [argument.replace("--progressive.", "--networks.") for argument in argv]  # Its name until 2026-11.
    given = _given(argv[1:])
    try:
        arguments = parse(
            TrainArguments,
            _without_choices(argv[1:]),
            f"ganserve train {preset}",
            default=TrainArguments(config=_values(preset, given), out=Path("runs") / preset),
            description="Train a GAN, or go on with a run that was interrupted.",
            examples=(f"ganserve train {preset} --out runs/mine", f"ganserve train {preset} --steps 500 --json"),
        )
        _check_given(given, arguments.config)
        if arguments.processes != 1 and not launched.is_launched():
            return _supervise(arguments, argv)
        return _train(arguments)
    except KeyboardInterrupt:  # Before the first step; later ones are for the training loop to act on.
        return 130
    except ConfigError as error:
        return _fail(str(error), 2)
    except StoppedError as stop:
        if launched.is_first():
            sys.stderr.write(f"ganserve train: {stop}\n")
        return 128 + stop.signal_number
    except DivergedError as error:
        return _fail(str(error), 1) if launched.is_first() else 1  # All processes see it.
    except LostProcessError as error:
        if launched.is_supervised():  # Which says what happened to the other process.
            return launched.LOST_PEER_STATUS
        return _fail(str(error), 1)
    except TrainingError as error:
        return _fail(str(error), 1)
    except BrokenPipeError:
        raise  # Whoever read the output has seen enough; the command line ends quietly.
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)


def _given(argv: Sequence[str]) -> dict[str, str]:
    """The flags among the arguments, each with what follows it."""
    pairs = ((flag.partition("="), value) for flag, value in pairwise([*argv, ""]) if flag.startswith("--"))
    return {name.replace("_", "-"): attached or value for (name, _, attached), value in pairs}


def _values(preset: str, given: Mapping[str, str]) -> TrainConfig:
    """Return the preset's values, without those that the flags given leave no use for."""
    config = PRESETS[preset]
    if given.get("--data.labels") == "ignore":
        networks = replace(config.networks, generator_conditioning="auto", critic_conditioning="auto")
        config = replace(config, networks=networks)
    if "--batch-size" in given and isinstance(config.networks, GrowthConfig):  # Of every level.
        config = replace(config, networks=replace(config.networks, batch_sizes=()))
    chosen = {path: given[flag(path)] for path in allowed_choices() if flag(path) in given}
    for path, name in chosen.items():
        if not name:
            raise ConfigError(f"{flag(path)} needs a value")
    return with_choices(config, chosen)


def _without_choices(argv: Sequence[str]) -> list[str]:
    """Return the arguments without those that `_values` has acted on."""
    flags, kept, skip = {flag(path) for path in allowed_choices()}, [], False
    for argument in argv:
        name, equals, _ = argument.replace("_", "-").partition("=")
        if not skip and name not in flags:
            kept.append(argument)
        skip = not skip and name in flags and not equals
    return kept


def _check_given(given: Mapping[str, str], config: TrainConfig) -> None:
    """Refuse flags that nothing would look at. Where a preset alone sets the same, it does no harm."""
    if {"--batch-size", "--networks.batch-sizes"} <= given.keys():
        raise ConfigError(
            f"--batch-size must be left out where --networks.batch-sizes gives each level its own (got "
            f"{config.batch_size}): leave out either"
        )
    if "--schedule.burn-in-steps" in given and not anneals(config):
        raise ConfigError(
            f"--schedule.burn-in-steps must be left out where nothing is annealed over them (got "
            f"{config.schedule.burn_in_steps}): give a value another end, such as --optimisers.critic.learning-rate.end"
        )


def _supervise(arguments: TrainArguments, argv: Sequence[str]) -> int:
    """Check what can be checked before, then train in several processes."""
    if arguments.processes < 1:
        raise ConfigError(f"--processes must be at least 1 (got {arguments.processes})")
    from ganserve_training.run.compatibility import check_shares
    from ganserve_training.run.devices import check_device
    from ganserve_training.run.supervisor import supervise

    check_shares(arguments.config, arguments.processes)
    check_device(arguments.device, arguments.processes)
    with _stop_requests(again=True) as requests:
        return supervise(argv, arguments.processes, arguments.out, requests)


def _train(arguments: TrainArguments) -> int:
    if arguments.processes not in (1, launched.world()):
        raise ConfigError(
            f"--processes must be left out where torchrun starts the processes (got {arguments.processes}, torchrun "
            f"started {launched.world()})"
        )
    # Threads that burn their cores while they wait for each other gain a tenth alone, and lose two thirds in company.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from ganserve_training.run.train import train

    with _stop_requests() as requests:
        result = train(
            arguments.config,
            arguments.out,
            device=arguments.device,
            threads=arguments.threads,
            stop_signal=lambda: requests[0] if requests else signal.SIGTERM if launched.is_orphaned() else None,
        )
    if not launched.is_first():
        return 0
    if arguments.json:
        facts = {
            "run": str(arguments.out),
            "step": result.step,
            "first_step": result.resumed_step,
            "steps": arguments.config.steps,
            "stopped_early": result.stopped,
            "seconds": round(result.seconds, 3),
        }
        sys.stdout.write(json.dumps(facts) + "\n")
    elif result.stopped:
        diagnosis = arguments.config.diagnosis
        kept = "; checkpoints/best-*.pt is the best" if diagnosis.keep_best else ""
        sys.stdout.write(
            f"{arguments.out} is finished: it stopped by itself at step {result.step} of {arguments.config.steps}, "
            f"after {diagnosis.patience} looks at a declined quality{kept}; --diagnosis.patience 0 goes on\n"
        )
    elif result.step == result.resumed_step:
        sys.stdout.write(f"{arguments.out} is finished: step {result.step} of {arguments.config.steps}\n")
    else:
        sys.stdout.write(f"{arguments.out} finished: step {result.step}, {result.seconds:.0f} s of training\n")
    return 0


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


def _fail(message: str, status: int) -> int:
    who = "" if launched.is_first() else f"process {launched.rank() + 1} of {launched.world()}: "
    sys.stderr.write(f"ganserve train: error: {who}{in_flags(message, TrainConfig)}\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
