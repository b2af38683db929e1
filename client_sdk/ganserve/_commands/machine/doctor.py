"""The command `ganserve doctor`: check the installation, the GPU and the server."""

from collections.abc import Sequence
from dataclasses import dataclass

from ganserve._command_framework.process import DONE, FAILED
from ganserve._commands.machine.doctor_checks import Check, State, all_checks
from ganserve._commands.shared import ServerArguments, command, say, say_json

_EXAMPLES = ("ganserve doctor", "ganserve doctor --target gpu-box:50051 --json")


@dataclass(frozen=True, kw_only=True)
class DoctorArguments(ServerArguments):
    """Check this machine: what is installed, whether onnxruntime and PyTorch use the GPU, whether a server answers.

    The exit code is 0 if all that is installed works, 1 if something that is installed is broken.
    """

    json: bool = False
    """Print the findings as JSON."""


def _doctor(arguments: DoctorArguments) -> int:
    checks = list(all_checks(arguments.target, arguments.connection))
    broken = [check for check in checks if check.state is State.BROKEN]
    if arguments.json:
        say_json({"ok": not broken, "checks": checks})
    else:
        say(_report(checks))
        say("")
        say("what is installed works" if not broken else f"broken: {', '.join(check.name for check in broken)}")
    return FAILED if broken else DONE


def _report(checks: Sequence[Check]) -> str:
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.state:6}  {check.name:{width}}  {check.message}")
        if check.fix is not None:
            lines.append(f"{'':6}  {'':{width}}  fix: {check.fix}")
    return "\n".join(lines)


COMMAND = command("doctor", DoctorArguments, _doctor, _EXAMPLES)
main = COMMAND.main
