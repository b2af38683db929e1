"""Read the settings of `ganserve serve`: flags over the environment over a file over defaults.

Each field of `settings.ServerConfig` has one name: `max_batch_size` in the file (TOML), GANSERVE_MAX_BATCH_SIZE in the
environment, --max-batch-size as a flag.
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from ganserve._command_framework.options import UsageError, options_of
from ganserve._command_framework.parsing import app_of, parse
from ganserve_server.settings import Configuration, ServerConfig

# Not variables of other components, nor those of Kubernetes: GANSERVE_X_SERVICE_HOST and more for a service ganserve-x.
_VARIABLE = re.compile(
    r"GANSERVE_(?!(TARGET|TOKEN(_\w+)?|TLS|TLS_(CA|SERVER_NAME|CLIENT_CERTIFICATE|CLIENT_KEY)|UI_\w+|TRAIN_\w*)=)"
    r"(?!(\w+_)?((SERVICE_(HOST|PORT\w*)|PORT_\d+_(TCP|UDP|SCTP)\w*)=|PORT=(tcp|udp|sctp):))"
)
# OpenTelemetry's own variables: of two for a setting, the first counts.
_OPENTELEMETRY = {
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "otlp_endpoint",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "otlp_endpoint",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "otlp_protocol",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "otlp_protocol",
}
_DEFAULTS = {item.name: item.default for item in fields(ServerConfig)}


def read_configuration(arguments: Sequence[str], environment: Mapping[str, str]) -> Configuration:
    """Read the settings from flags, the environment's variables and the file that one of them names.

    A source that cannot be read, or has a wrong or unknown setting, raises UsageError, which names the source.
    """
    variables = _variables(environment)
    settings = {name: environment[variable] for name, variable in variables.items()}
    if settings.get("otlp_protocol") == "http/protobuf":
        settings["otlp_protocol"] = "http"
    found = _read(_as_flags(settings), lambda name: variables.get(name, f"GANSERVE_{name.upper()}"))
    found |= _read(arguments, lambda name: f"--{name.replace('_', '-')}")
    file, place = found.get("config", (None, ""))
    if file:
        try:
            table = tomllib.loads(file.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise UsageError(f"{place} {file}: cannot be read: {error.strerror}. Name a readable file.") from error
        except ValueError as error:  # Not UTF-8, or not TOML.
            raise UsageError(f"{place} {file}: is not TOML: {error}. Correct the file.") from error
        if "config" in table:
            raise UsageError(f"{file}: config: names a further file. Leave it out.")
        found = _read(_as_flags(table), lambda _: str(file)) | found
    sources = {name: found[name][1] for name in _DEFAULTS if name in found and found[name][0] != _DEFAULTS[name]}
    values = {name: value for name, (value, _) in found.items()}
    try:
        return Configuration(config=ServerConfig(**values), sources=sources)
    except ValueError as error:
        raise UsageError(blame(error, sources)) from error


def blame(error: Exception, sources: Mapping[str, str]) -> str:
    """Return an error's text with the variable or the file of a value in place of its flag."""

    def source_of(flag: re.Match[str]) -> str:
        name = flag[0][2:].replace("-", "_")
        source = sources.get(name, flag[0])
        if source == flag[0] or source.startswith(("GANSERVE_", "OTEL_")):
            return source
        return name if flag.start() else f"{source}: {name}"

    return re.sub(r"--(?!help`)[a-z0-9-]+", source_of, str(error))


def _variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that gives each setting."""
    found = {}
    if environment.get("OTEL_SDK_DISABLED", "").lower() != "true" and environment.get("OTEL_TRACES_EXPORTER") != "none":
        found = {name: variable for variable, name in reversed(_OPENTELEMETRY.items()) if environment.get(variable)}
    given = [variable for variable, text in environment.items() if text and _VARIABLE.match(f"{variable}={text}")]
    return found | {variable.removeprefix("GANSERVE_").lower(): variable for variable in given}


def _as_flags(settings: Mapping[str, Any]) -> list[str]:
    flags = []
    for name, value in settings.items():
        items = [value]
        if isinstance(_DEFAULTS.get(name), tuple):
            items = re.split(r"[,\s]+", value.strip()) if isinstance(value, str) else value
            items = items if isinstance(items, list) else [items]
        flags += [f"--{name.replace('_', '-')}={item}" for item in items]
    return flags


def _read(flags: Sequence[str], source: Callable[[str], str]) -> dict[str, tuple[Any, str]]:
    """Return the values of flags with their sources, which errors name in place of the flags."""
    if not flags:  # the environment gives none as a rule
        return {}
    try:
        values = parse(app_of("ganserve serve", options_of(ServerConfig, texts=False)), flags)
    except UsageError as error:
        names = [flag.replace("-", "_") for flag in re.findall(r"(?<=--)[a-z0-9-]+", str(error))]
        raise UsageError(blame(error, {name: source(name) for name in names})) from None
    return {name: (value, source(name)) for name, value in values.items()}
