"""Puts the configuration of `ganserve serve` together: flags over the environment over a file over defaults.

Every field of `config.ServerConfig` has the same name everywhere: `max_batch_size` in the file (TOML), the environment
variable GANSERVE_MAX_BATCH_SIZE, the flag --max-batch-size.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import re
import tomllib
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ganserve._command_line import UsageError, parse
from ganserve_server.errors import StartupError
from ganserve_server.settings import ServerConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_PREFIX = "GANSERVE_"
# Of other parts of ganserve.
_OTHERS = re.compile(r"GANSERVE_(TARGET|TRAIN_.*)")
# Kubernetes tells every pod of a namespace about a service named ganserve-x in GANSERVE_X_SERVICE_HOST and others.
_SERVICE_LINKS = re.compile(r"GANSERVE_(\w+_)?(SERVICE_(HOST|PORT\w*)|PORT_\d+_(TCP|UDP|SCTP)\w*)")
_SERVICE_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://.*")
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
_DESCRIPTION = (
    "Serve the GAN model packages of a folder over gRPC, until SIGTERM or Ctrl-C. Each setting is also a line of the "
    "--config file (max_batch_size = 32) and an environment variable (GANSERVE_MAX_BATCH_SIZE=32). A flag beats the "
    "environment, which beats the file."
)
_EXAMPLES = (
    "ganserve serve --models models",
    "ganserve serve --models models --host 0.0.0.0 --metrics-port 9464 --log-format json",
    "GANSERVE_PROVIDER=cuda ganserve serve --config ganserve.toml",
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """The configuration and where it came from."""

    config: ServerConfig
    sources: dict[str, str]
    """Of each value that is not the default: the flag, the variable or the file that it is from."""

    def report(self) -> str:
        """Says all values: a line for each that is not the default, with its source, then the defaults in one line."""
        values = {field.name: _shown(getattr(self.config, field.name)) for field in dataclasses.fields(self.config)}
        lines = [f"config   {name} = {values.pop(name)} ({source})" for name, source in self.sources.items()]
        defaults = ", ".join(f"{name} = {value}" for name, value in values.items())
        return "".join(f"{line}\n" for line in [*lines, f"default  {defaults}"])


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Unchecked(ServerConfig):
    """Values that are not all there yet, so that they need not fit together."""

    def __post_init__(self) -> None:
        pass


def read_configuration(arguments: Sequence[str], environment: Mapping[str, str]) -> Configuration:
    """Read the configuration.

    Args:
        arguments: The flags.
        environment: The environment's variables.

    Raises:
        StartupError: A flag is wrong, or a source cannot be read, or has what it must not; the message names it.
        SystemExit: The flags ask for help, which is written.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    if not {"-h", "--help"} & set(arguments):
        file = _config_flag(arguments) or environment.get(f"{_PREFIX}CONFIG")
        for name, value, source in [*(_read_file(file) if file else []), *_read_environment(environment)]:
            values[name], sources[name] = value, source
    before = _Unchecked(**values)
    try:
        parsed = parse(
            _Unchecked, arguments, "ganserve serve", default=before, description=_DESCRIPTION, examples=_EXAMPLES
        )
    except UsageError as error:
        raise StartupError(str(error)) from None
    defaults = ServerConfig()
    values = {field.name: getattr(parsed, field.name) for field in dataclasses.fields(ServerConfig)}
    for name, value in values.items():
        if value != getattr(before, name):
            sources[name] = f"--{name.replace('_', '-')}"
    sources = {name: sources[name] for name in values if name in sources and values[name] != getattr(defaults, name)}
    try:
        return Configuration(config=ServerConfig(**values), sources=sources)
    except ValueError as error:
        raise StartupError(f"{error}{_blame(str(error), sources)}") from error


def _config_flag(arguments: Sequence[str]) -> str | None:
    """Return the file that --config names; tyro comes to see it too late."""
    for flag, value in itertools.pairwise([*arguments, ""]):
        if flag == "--config":
            return value
        if flag.startswith("--config="):
            return flag.removeprefix("--config=")
    return None


def _read_file(file: str) -> Iterable[tuple[str, Any, str]]:
    try:
        with Path(file).open("rb") as stream:
            table = tomllib.load(stream)
    except OSError as error:
        raise StartupError(f"the configuration file {file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StartupError(f"the configuration file {file} is no TOML: {error}") from error
    types_by_name = _types()
    del types_by_name["config"]
    for key, value in table.items():
        if key not in types_by_name:
            raise StartupError(f"{file}: there is no {key!r}{_nearest(key, types_by_name)}")
        yield key, _converted(types_by_name[key], value, f"{file}: {key}", text=False), file


def _read_environment(environment: Mapping[str, str]) -> Iterable[tuple[str, Any, str]]:
    types_by_variable = {f"{_PREFIX}{name.upper()}": (name, hint) for name, hint in _types().items()}
    for variable, text in environment.items():
        if not variable.startswith(_PREFIX) or not text or _OTHERS.fullmatch(variable):
            continue
        if _SERVICE_LINKS.fullmatch(variable) or (variable.endswith("_PORT") and _SERVICE_LINK_VALUE.fullmatch(text)):
            continue
        if variable not in types_by_variable:
            raise StartupError(
                f"there is no environment variable {variable}{_nearest(variable, types_by_variable)}; unset it"
            )
        name, hint = types_by_variable[variable]
        yield name, _converted(hint, text, variable, text=True), variable


def _types() -> dict[str, Any]:
    return dict(typing.get_type_hints(ServerConfig))


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name.replace("-", "_"), list(names), n=1)
    return f"; did you mean {near[0]}?" if near else "; `ganserve serve --help` tells what there is"


def _converted(hint: Any, value: Any, source: str, *, text: bool) -> Any:
    """Return a value as a field's type; `text`: it comes from the environment, where all is text."""
    try:
        return _from_text(hint, value) if text else _from_toml(hint, value)
    except (ValueError, TypeError):
        raise StartupError(f"{source}: expected {_expected(hint)} (got {value!r})") from None


def _from_text(hint: Any, text: str) -> Any:
    inner = _without_none(hint)
    if inner is bool:
        if text.lower() not in (*_TRUE, *_FALSE):
            raise ValueError
        return text.lower() in _TRUE
    if typing.get_origin(inner) is tuple:
        return tuple(_from_text(typing.get_args(inner)[0], part) for part in re.split(r"[,\s]+", text.strip()))
    if typing.get_origin(inner) is Literal:
        return _from_toml(inner, text)
    return inner(text)


def _from_toml(hint: Any, value: Any) -> Any:
    inner = _without_none(hint)
    if typing.get_origin(inner) is Literal:
        if value not in typing.get_args(inner):
            raise ValueError
        return value
    if typing.get_origin(inner) is tuple:
        if not isinstance(value, list):
            raise TypeError
        return tuple(_from_toml(typing.get_args(inner)[0], part) for part in value)
    wanted: Any = {float: (int, float), Path: str}.get(inner, inner)
    if not isinstance(value, wanted) or (isinstance(value, bool) and inner is not bool):
        raise TypeError
    return inner(value)


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint


def _expected(hint: Any) -> str:
    inner = _without_none(hint)
    if typing.get_origin(inner) is Literal:
        return f"one of {', '.join(typing.get_args(inner))}"
    if typing.get_origin(inner) is tuple:
        return "a list of whole numbers"
    return {int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}.get(inner, "text")


def _blame(message: str, sources: Mapping[str, str]) -> str:
    """Return where the fields that a message names have their values from."""
    named = [f"{name} is from {source}" for name, source in sources.items() if re.search(rf"\b{name}\b", message)]
    return f"; {', '.join(named)}" if named else ""


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)
