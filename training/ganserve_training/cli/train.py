"""The command `ganserve train`: train a preset in a run folder, or go on with a run that was interrupted."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from ganserve._command_line.command import BAD_USAGE, DONE, FAILED, Command
from ganserve._command_line.help import help_text
from ganserve._command_line.options import Option, UsageError, build, flag, options_of
from ganserve._command_line.parsing import near, parse
from ganserve_training.cli.flags import in_flags
from ganserve_training.config import ProgressiveConfig, TrainConfig
from ganserve_training.config.annealing import anneals
from ganserve_training.config.data import suit_source
from ganserve_training.config.networks import suit_architecture
from ganserve_training.errors import ConfigError, DivergedError, LostProcessError, StoppedError, TrainingError
from ganserve_training.presets import ABOUT, PRESETS
from ganserve_training.run import launcher_environment as launched

_EXAMPLES = (
    "ganserve train digits                                      # into runs/digits, or on from where it stopped",
    "ganserve train dcgan-32 --data.source folder --data.path photos/ --out runs/photos",
    "ganserve train wgan-gp-32 --device cuda --steps 20000 --json",
)
# Options that decide which others there are; a preset's values for those others fall away.
_CHOICES = ("data.source", "data.labels", "networks.architecture", "batch_size")
_FIRST = (
    *("out", "steps", "batch_size", "device", "precision", "seed", "processes", "json"),
    *("data.source", "data.path", "data.size", "data.labels"),
    *("networks.architecture", "networks.latent_dim", "networks.generator_width", "networks.critic_width"),
    *("loss.name", "optimisers.generator.learning_rate.start", "optimisers.critic.learning_rate.start"),
)
"""Options of the short help."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainArguments:
    """Train a GAN, or go on with a run that was interrupted: the same command resumes at the newest checkpoint."""

    config: TrainConfig = flag(flat=True)
    """The preset's values, each of which a flag replaces."""
    out: Path = flag(aliases=("-o",))
    """The run's folder. An existing run goes on where it stopped."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU if torch can use one."""
    threads: int | None = None
    """CPU threads of each process; one for images up to 16 x 16 pixels, else all cores, at most 8, shared evenly."""
    processes: int = 1
    """Processes on this machine that share each batch, each with a GPU of its own where there are any; torchrun does
    the same over several machines."""
    json: bool = False
    """Print the result as one JSON object; progress goes to stderr all the same."""


class TrainCommand(Command):
    """The command, whose options depend on the preset and on what replaces its choices."""

    def cases(self) -> dict[str, list[Option]]:
        """Return the options of each preset."""
        return {preset: options_of(TrainArguments, _defaults(preset, {})) for preset in PRESETS}

    def help(self, argv: Sequence[str]) -> str:
        """Return the list of presets, or the help of a preset."""
        preset, *arguments = argv
        if preset not in PRESETS:
            width = max(map(len, PRESETS))
            presets = "\n".join(["presets:", *(f"  {name:{width}}  {ABOUT[name]}" for name in PRESETS)])
            more = f"{presets}\n\n`ganserve train PRESET --help` lists a preset's options with its values."
            return help_text(f"{self.prog} PRESET", TrainArguments.__doc__ or "", {"options": []}, self.examples, more)
        return _preset_help(preset, arguments)

    def read(self, argv: Sequence[str]) -> tuple[TrainArguments, Sequence[str]]:
        """Return the arguments, and how they were written."""
        return read_arguments(argv), argv


def read_arguments(argv: Sequence[str]) -> TrainArguments:
    """Read the command's arguments, the preset first.

    Raises:
        UsageError: An argument is wrong.
        ConfigError: The values contradict each other.
    """
    preset, *words = [*argv, *([] if argv else [""])]
    if preset not in PRESETS:
        found = near(preset, PRESETS, most=1)
        hint = f"Did you mean {found[0]}?" if found else f"Give one of {', '.join(PRESETS)}."
        raise UsageError(f"PRESET {preset}: no such preset. {hint}" if preset else f"PRESET: missing. {hint}")
    prog = f"ganserve train {preset}"
    defaults = _defaults(preset, _chosen(preset, words))
    given = parse(options_of(TrainArguments, defaults), words, prog)
    arguments: TrainArguments = build(defaults, given)
    _check_given({".".join(path[1:]) for path in given if path[0] == "config"}, arguments.config)
    return arguments


def _chosen(preset: str, words: Sequence[str]) -> dict[str, Any]:
    """Return the choices among the arguments, whatever the others are."""
    options = options_of(TrainConfig, PRESETS[preset])
    choosing = [option for option in options if ".".join(option.path) in _CHOICES]
    return {
        ".".join(path): value for path, value in parse(choosing, words, f"ganserve train {preset}", some=True).items()
    }


def _defaults(preset: str, chosen: Mapping[str, Any]) -> TrainArguments:
    """Return the preset's values, without those that the choices leave no use for."""
    config = PRESETS[preset]
    if source := chosen.get("data.source"):
        config = replace(config, data=suit_source(config.data, source))
    if chosen.get("data.labels") == "ignore":
        networks = replace(config.networks, generator_conditioning="auto", critic_conditioning="auto")
        config = replace(config, networks=networks)
    if architecture := chosen.get("networks.architecture"):
        config = replace(config, networks=suit_architecture(config.networks, architecture))
        if architecture not in ("progressive", "custom"):
            config = replace(config, progressive=ProgressiveConfig())
    if "batch_size" in chosen:  # One size for every level.
        config = replace(config, progressive=replace(config.progressive, batch_sizes=()))
    return TrainArguments(config=config, out=Path("runs") / preset)


def _check_given(given: set[str], config: TrainConfig) -> None:
    """Refuse flags that have no effect. A preset that sets the same does no harm."""
    if {"batch_size", "progressive.batch_sizes"} <= given:
        raise ConfigError(
            f"--batch-size must be left out where --progressive.batch-sizes gives each level its own (got "
            f"{config.batch_size}): leave out either"
        )
    if "schedule.burn_in_steps" in given and not anneals(config):
        raise ConfigError(
            f"--schedule.burn-in-steps must be left out where nothing is annealed over them (got "
            f"{config.schedule.burn_in_steps}): give a value another end, such as --optimisers.critic.learning-rate.end"
        )


def _preset_help(preset: str, words: Sequence[str]) -> str:
    """Return the short help of a preset, that of one section, or all of it."""
    section = next((after for word, after in pairwise([*words, ""]) if word in ("-h", "--help")), "")
    try:
        chosen = _chosen(preset, [word for word in words if word not in ("-h", "--help", "--help-all")])
        defaults = _defaults(preset, chosen)
    except (UsageError, ConfigError):
        defaults = _defaults(preset, {})
    sections: dict[str, dict[str, Option]] = {}
    for option in options_of(TrainArguments, defaults):
        name = ".".join(option.path).removeprefix("config.")
        sections.setdefault(name.partition(".")[0] if "." in name else "run", {})[name] = option
    more, shown = "", {name: list(inside.values()) for name, inside in sections.items()}
    if section in sections:
        shown = {section: shown[section]}
    elif "--help-all" not in words:
        every = {name: option for inside in sections.values() for name, option in inside.items()}
        shown = {"options that matter most": [every[name] for name in _FIRST if name in every]}
        counts = [f"  --help {name:12} {len(inside):2} options: " for name, inside in sections.items()]
        lines = [f"{count}{_about(defaults, name)}" for count, name in zip(counts, sections, strict=True)]
        more = "\n".join(["all options, by section:", *lines, "  --help-all          all of them"])
    prog = f"ganserve train {preset}"
    examples = (f"{prog} --out runs/mine", f"{prog} --steps 500 --json")
    return help_text(prog, TrainArguments.__doc__ or "", shown, examples, more)


def _about(defaults: TrainArguments, section: str) -> str:
    """Return what a section is about, short enough for a line of 80 columns."""
    part = getattr(defaults.config, section, None)
    doc = (
        "where, how long and on what to train" if part is None else re.split(r"[,.:;]| \(", type(part).__doc__ or "")[0]
    )
    return f"{doc[:1].lower()}{doc[1:]}"


def _run(call: tuple[TrainArguments, Sequence[str]]) -> int:
    arguments, argv = call
    try:
        if arguments.processes != 1 and not launched.is_launched():
            return _supervise(arguments, argv)
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
        return DONE
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
    every = {option.flags: option for options in COMMAND.cases().values() for option in options}
    return f"{who}{in_flags(str(error), list(every.values()))}"


COMMAND = TrainCommand(
    name="train",
    arguments=TrainArguments,
    action=_run,
    examples=_EXAMPLES,
    exit_codes={ConfigError: BAD_USAGE, TrainingError: FAILED},
    wording=_wording,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
