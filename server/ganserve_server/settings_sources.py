"""Read the settings of `ganserve serve`: flags over the environment over a file over defaults.

Each field of `settings.ServerConfig` has one name: `max_batch_size` in the file (TOML), GANSERVE_MAX_BATCH_SIZE in the
environment, --max-batch-size as a flag.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ganserve._command_line.options import Option, UsageError, options_of
from ganserve._command_line.parsing import near, parse
from ganserve_server.errors import StartupError
from ganserve_server.settings import ServerConfig

Found = Iterator[tuple[str, tuple[Any, str]]]
"""A setting, and its value and source, one after the other."""

_PREFIX = "GANSERVE_"
_OTHERS = re.compile(r"GANSERVE_(TARGET|TRAIN_.*)")  # Variables of other components.
# Kubernetes gives every pod of a namespace GANSERVE_X_SERVICE_HOST and more about a service named ganserve-x.
_SERVICE_LINKS = re.compile(r"GANSERVE_(\w+_)?(SERVICE_(HOST|PORT\w*)|PORT_\d+_(TCP|UDP|SCTP)\w*)")
_SERVICE_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://.*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """The settings and their sources."""

    config: ServerConfig
    sources: dict[str, str]
    """The flag, variable or file of each value that is not the default."""

    def report(self) -> str:
        """Return a line for each value that is not the default, with its source, and one line for the defaults."""
        values = {name: _shown(value) for name, value in asdict(self.config).items()}
        lines = [f"config   {name} = {values.pop(name)} ({source})" for name, source in self.sources.items()]
        defaults = ", ".join(f"{name} = {value}" for name, value in values.items())
        return "".join(f"{line}\n" for line in [*lines, f"default  {defaults}"])


def read_configuration(arguments: Sequence[str], environment: Mapping[str, str]) -> Configuration:
    """Read the settings from flags, the environment's variables and the file that one of them names.

    A source that cannot be read, or has a wrong or unknown setting, raises StartupError, which names the source.
    """
    options = {option.path[0]: option for option in options_of(ServerConfig)}
    try:
        flags = parse(list(options.values()), arguments, "ganserve serve")
        found = dict(_variables(options, environment))
        found |= {name: (value, options[name].name) for (name,), value in flags.items()}
        if file := found.get("config", (None, ""))[0]:
            found = dict(_settings(options, file, found["config"][1])) | found
    except UsageError as error:
        raise StartupError(str(error)) from None
    others = [name for name, option in options.items() if name in found and found[name][0] != option.default]
    sources = {name: found[name][1] for name in others}
    try:
        config = ServerConfig(**{name: value for name, (value, _) in found.items()})
    except ValueError as error:
        raise StartupError(blame(error, sources)) from error
    return Configuration(config=config, sources=sources)


def blame(error: Exception, sources: Mapping[str, str]) -> str:
    """Return an error's text; if it begins with a flag, the source of the value takes the flag's place."""
    flag, _, rest = str(error).partition(" ")
    name = flag[2:].replace("-", "_")
    source = sources.get(name, flag)
    return f"{source} {rest}" if source == flag or source.startswith(_PREFIX) else f"{source}: {name} {rest}"


def _settings(options: Mapping[str, Option], file: Path, source: str) -> Found:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{source} {file}: cannot be read: {error.strerror}. Name a readable TOML file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{source} {file}: is not TOML: {error}. Correct the file.") from error
    names = [name for name in options if name != "config"]
    for name, value in table.items():
        if name not in names:
            raise UsageError(f"{file}: {name}: no such setting. {_hint(name.replace('-', '_'), names)}")
        yield name, (_from_toml(options[name], value, f"{file}: {name}"), str(file))


def _from_toml(option: Option, value: Any, source: str) -> Any:
    """Convert a value of TOML, which has types: port = "3" is refused."""
    if option.many and not isinstance(value, list):
        raise UsageError(f"{source} {value}: not a list. Give one, such as [{option.example}].")
    items = value if option.many else [value]
    for item in items:
        if type(item) not in {int: (int,), float: (int, float), bool: (bool,)}.get(option.kind, (str,)):
            raise option.refusal(f'"{item}"' if isinstance(item, str) else str(item).lower(), source)
    return option.read([str(item) for item in items], source)


def _variables(options: Mapping[str, Option], environment: Mapping[str, str]) -> Found:
    names = {f"{_PREFIX}{name.upper()}": name for name in options}
    for variable, text in environment.items():
        if not variable.startswith(_PREFIX) or not text or _OTHERS.fullmatch(variable):
            continue
        if _SERVICE_LINKS.fullmatch(variable) or (variable.endswith("_PORT") and _SERVICE_LINK_VALUE.fullmatch(text)):
            continue
        if variable not in names:
            raise UsageError(f"{variable}: no such environment variable. {_hint(variable, names)}")
        name = names[variable]
        texts = re.split(r"[,\s]+", text.strip()) if options[name].many else [text]
        yield name, (options[name].read(texts, variable), variable)


def _hint(name: str, names: Iterable[str]) -> str:
    found = near(name, names, most=1)
    return f"Did you mean {found[0]}?" if found else "`ganserve serve --help` lists the settings."


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)
