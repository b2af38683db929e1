"""Read the settings of `ganserve serve`: flags over the environment over a file over defaults.

Each field of `settings.ServerConfig` has one name: `max_batch_size` in the file (TOML), GANSERVE_MAX_BATCH_SIZE in the
environment, --max-batch-size as a flag.
"""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganserve._command_line.options import Option, UsageError, hint, options_of
from ganserve_server.settings import Configuration, ServerConfig

# Variables of other components, and those that Kubernetes sets: GANSERVE_X_SERVICE_HOST and more for a service named
# ganserve-x.
_OTHERS = re.compile(
    r"GANSERVE_((TARGET|TOKEN(_\w+)?|TLS|TLS_(CA|SERVER_NAME|CLIENT_CERTIFICATE|CLIENT_KEY)|UI_\w+|TRAIN_\w*)=|"
    r"(\w+_)?((SERVICE_(HOST|PORT\w*)|PORT_\d+_(TCP|UDP|SCTP)\w*)=|PORT=(tcp|udp|sctp):))"
)
_TYPES = {int: (int,), float: (int, float), bool: (bool,)}  # In TOML; all other settings are text.
_LIST = "`ganserve serve --help` lists the settings."


def read_configuration(arguments: Sequence[str], environment: Mapping[str, str]) -> Configuration:
    """Read the settings from flags, the environment's variables and the file that one of them names.

    A source that cannot be read, or has a wrong or unknown setting, raises UsageError, which names the source.
    """
    from ganserve._command_line.parsing import parse  # Loads cyclopts, which `ganserve serve --help` does without.

    options = {option.path[0]: option for option in options_of(ServerConfig)}
    flags = parse(list(options.values()), arguments, "ganserve serve")
    found = _variables(options, environment)
    found |= {name: (value, options[name].name) for (name,), value in flags.items()}
    if found.get("config", (None,))[0]:
        found = _settings(options, *found["config"]) | found
    sources = {name: found[name][1] for name in options if name in found and found[name][0] != options[name].default}
    try:
        config = ServerConfig(**{name: value for name, (value, _) in found.items()})
    except ValueError as error:
        raise UsageError(blame(error, sources)) from error
    return Configuration(config=config, sources=sources)


def blame(error: Exception, sources: Mapping[str, str]) -> str:
    """Return an error's text with the variable or the file of a value in place of its flag."""

    def source_of(flag: re.Match[str]) -> str:
        name = flag[0][2:].replace("-", "_")
        source = sources.get(name, flag[0])
        if source == flag[0] or source.startswith("GANSERVE_"):
            return source
        return f"{name} of {source}" if flag.start() else f"{source}: {name}"

    return re.sub(r"--[a-z0-9-]+", source_of, str(error))


def _settings(options: Mapping[str, Option], file: Path, source: str) -> dict[str, tuple[Any, str]]:
    """Return the values of a file, and the file, by the name of the setting."""
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{source} {file}: cannot be read: {error.strerror}. Name a readable TOML file.") from error
    except ValueError as error:  # Not UTF-8, or not TOML.
        raise UsageError(f"{source} {file}: is not TOML: {error}. Correct the file.") from error
    names, found = [name for name in options if name != "config"], {}
    for name, value in table.items():
        if isinstance(value, dict):
            raise UsageError(f"{file}: {name}: is a table. Write settings without one: port = 50051.")
        if name not in names:
            raise UsageError(f"{file}: {name}: no such setting. {hint(name.replace('-', '_'), names, _LIST)}")
        option, place = options[name], f"{file}: {name}"
        items = value if option.many and isinstance(value, list) else [value]
        for item in items:
            if type(item) not in _TYPES.get(option.kind, (str,)):
                raise option.refusal(json.dumps(item, default=str), place)
        found[name] = (option.read([str(item) for item in items], place), str(file))
    return found


def _variables(options: Mapping[str, Option], environment: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    """Return the values of variables, and the variables, by the name of the setting."""
    names, found = {f"GANSERVE_{name.upper()}": name for name in options}, {}
    for variable, text in environment.items():
        if not text or not variable.startswith("GANSERVE_") or _OTHERS.match(f"{variable}={text}"):
            continue
        if variable not in names:
            raise UsageError(f"{variable}: no such environment variable. {hint(variable, names, _LIST)}")
        option = options[names[variable]]
        texts = re.split(r"[,\s]+", text.strip()) if option.many else [text]
        found[names[variable]] = (option.read(texts, variable), variable)
    return found
