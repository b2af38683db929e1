"""The command `ganserve models`: list what the server has."""

from collections.abc import Sequence
from dataclasses import dataclass

from ganserve import Client, ModelSummary, VersionSummary
from ganserve._command_framework.process import printable
from ganserve._commands.shared import CallArguments, command, say, say_json, table

_EXAMPLES = ("ganserve models", "ganserve models --target gpu-box:50051 --json")
_MOST_LABELS = 10


@dataclass(frozen=True, kw_only=True)
class ModelsArguments(CallArguments):
    """List the models of a server; * marks the version that requests get by default."""

    json: bool = False
    """Print the list as JSON."""


def _models(arguments: ModelsArguments) -> int:
    with Client(arguments.target, timeout_s=arguments.timeout_s, **arguments.connection) as client:
        models = client.models()
        target = client.target
    if arguments.json:
        say_json(models)
    elif not models:
        say(f"the server at {target} has no models")
    else:
        header: tuple[str, ...] = ("model", "version", "state", "sample", "labels", "provider")
        rows = [_row(model, version) for model in models for version in model.versions]
        notes = [_notes(version) for model in models for version in model.versions]
        if any(notes):
            header += ("notes",)
            rows = [[*row, note] for row, note in zip(rows, notes, strict=True)]
        say(table(header, rows))
        for model in models:
            for version in model.versions:
                if version.reason:
                    say(printable(f"{model.name} {version.version}: {version.reason}"))
    return 0


def _row(model: ModelSummary, version: VersionSummary) -> list[str]:
    return [
        model.name,
        f"{version.version}{'*' if version.version == model.latest else ''}",
        str(version.state),
        "" if version.sample is None else str(version.sample),
        _labels(version.label_names) if version.sample is not None else "",
        ", ".join(provider.removesuffix("ExecutionProvider") for provider in version.providers),
    ]


def _notes(version: VersionSummary) -> str:
    """Return notes about a version."""
    if version.sample is None:
        return ""
    notes = [] if version.has_critic else ["no critic"]
    if version.style is not None:
        notes.append(str(version.style))
    if version.controls:
        notes.append(f"controls {', '.join(map(str, version.controls))}")
    if version.bfloat16:
        notes.append("bfloat16")
    if version.lone_threads:
        samples = "one sample" if version.lone_samples == 1 else f"up to {version.lone_samples} samples"
        notes.append(f"{samples} alone on {version.lone_threads} threads")
    return "; ".join(notes)


def _labels(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = "" if len(names) <= _MOST_LABELS else f", … {len(names)} in all"
    return ", ".join(names[:_MOST_LABELS]) + more


COMMAND = command("models", ModelsArguments, _models, _EXAMPLES)
main = COMMAND.main
