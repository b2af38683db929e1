"""Write the reference of the protocol, a page of Markdown, from protos/ and their comments."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
PACKAGE = "ganserve.v1"
INTRODUCTION = f"""# The protocol

`{PACKAGE}`, from `protos/ganserve/v1`: generate code for any language from these files. The same port serves
[the Open Inference Protocol](open-inference-protocol.md) and the standard services for health and reflection
([Running the service](serving.md))."""

# Field numbers in FileDescriptorProto and below; paths into a file's source consist of them.
_FILE_MESSAGES, _FILE_ENUMS, _FILE_SERVICES = 4, 5, 6
_MESSAGE_FIELDS, _MESSAGE_NESTED, _MESSAGE_ENUMS = 2, 3, 4
_ENUM_VALUES = 2
_SERVICE_METHODS = 2

_Field = descriptor_pb2.FieldDescriptorProto


def descriptors(protos: Path = PROTOS) -> descriptor_pb2.FileDescriptorSet:
    """Return the files of the package with their comments."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "descriptors.binpb"
        files = sorted(protos.glob("ganserve/v1/*.proto"))
        subprocess.run(
            [
                sys.executable,
                "-m",
                "grpc_tools.protoc",
                f"--proto_path={protos}",
                "--include_source_info",
                f"--descriptor_set_out={out}",
                *map(str, files),
            ],
            check=True,
        )
        return descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())


@dataclass(frozen=True)
class _Comments:
    """The comments of one file, by path."""

    file: descriptor_pb2.FileDescriptorProto

    def of(self, name: str, *path: int) -> str:
        for location in self.file.source_code_info.location:
            if tuple(location.path) == path and location.leading_comments.strip():
                return _clean(location.leading_comments)
        raise ValueError(f"{self.file.name}: {name} has no comment; write above it what it is for")


def _clean(comment: str) -> str:
    """Join the lines of each paragraph, and escape Markdown except code in backticks."""
    paragraphs = re.split(r"\n\s*\n", comment.strip())
    lines = [" ".join(line.strip() for line in paragraph.splitlines()) for paragraph in paragraphs]
    return "\n\n".join(map(_escape, lines))


def _escape(line: str) -> str:
    parts = re.split(r"(`[^`]+`)", line)
    parts[::2] = [re.sub(r"([\\`*_\[\]<>|])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def _anchor(name: str) -> str:
    return name.lower().replace(".", "-")


def _heading(level: int, name: str, kind: str) -> str:
    return f"{'#' * level} {kind} `{name}` {{ #{_anchor(name)} }}"


def _linked(type_name: str) -> str:
    name = type_name.removeprefix(f".{PACKAGE}.")
    return f"`{name.removeprefix('.')}`" if name.startswith(".") else f"[`{name}`](#{_anchor(name)})"


def _type(field: _Field, message: descriptor_pb2.DescriptorProto) -> str:
    if field.type not in (_Field.TYPE_MESSAGE, _Field.TYPE_ENUM):
        name = f"`{_Field.Type.Name(field.type).removeprefix('TYPE_').lower()}`"
    else:
        for nested in message.nested_type:
            if nested.options.map_entry and field.type_name.endswith(f".{message.name}.{nested.name}"):
                key, value = (_type(entry, nested) for entry in nested.field)
                return f"map of {key} to {value}"
        name = _linked(field.type_name)
    if field.label == _Field.LABEL_REPEATED:
        return f"repeated {name}"
    if field.proto3_optional:
        return f"optional {name}"
    if field.HasField("oneof_index"):
        return f"{name}, one of `{message.oneof_decl[field.oneof_index].name}`"
    return name


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace(chr(10) * 2, '<br>') for cell in line)} |" for line in lines)


def _service(
    service: descriptor_pb2.ServiceDescriptorProto, comments: _Comments, path: tuple[int, ...]
) -> Iterator[str]:
    yield _heading(2, service.name, "Service")
    yield comments.of(service.name, *path)
    rows = []
    for index, method in enumerate(service.method):
        takes = ("stream of " if method.client_streaming else "") + _linked(method.input_type)
        gives = ("stream of " if method.server_streaming else "") + _linked(method.output_type)
        comment = comments.of(f"{service.name}.{method.name}", *path, _SERVICE_METHODS, index)
        rows.append((f"`{method.name}`", takes, gives, comment))
    yield _table(("call", "takes", "answers", ""), rows)


def _message(
    message: descriptor_pb2.DescriptorProto, comments: _Comments, path: tuple[int, ...], prefix: str = ""
) -> Iterator[str]:
    name = prefix + message.name
    yield _heading(3, name, "Message")
    yield comments.of(name, *path)
    rows = [
        (
            str(field.number),
            f"`{field.name}`",
            _type(field, message),
            comments.of(f"{name}.{field.name}", *path, _MESSAGE_FIELDS, index),
        )
        for index, field in enumerate(message.field)
    ]
    if rows:
        yield _table(("number", "field", "type", ""), rows)
    for index, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            yield from _message(nested, comments, (*path, _MESSAGE_NESTED, index), f"{name}.")
    for index, enum in enumerate(message.enum_type):
        yield from _enum(enum, comments, (*path, _MESSAGE_ENUMS, index), f"{name}.")


def _enum(
    enum: descriptor_pb2.EnumDescriptorProto, comments: _Comments, path: tuple[int, ...], prefix: str = ""
) -> Iterator[str]:
    name = prefix + enum.name
    yield _heading(3, name, "Enumeration")
    yield comments.of(name, *path)
    rows = [
        (str(value.number), f"`{value.name}`", comments.of(value.name, *path, _ENUM_VALUES, index))
        for index, value in enumerate(enum.value)
    ]
    yield _table(("number", "value", ""), rows)


def protocol_reference(protos: Path = PROTOS) -> str:
    """Return the page: services first, then each file's messages and enumerations, in the order of the files.

    Raises:
        ValueError: A part of the files has no comment.
    """
    files = [(file, _Comments(file)) for file in descriptors(protos).file]
    parts = [INTRODUCTION]
    for file, comments in files:
        for index, service in enumerate(file.service):
            parts.extend(_service(service, comments, (_FILE_SERVICES, index)))
    for file, comments in files:
        parts.append(f"## {Path(file.name).name}")
        for index, message in enumerate(file.message_type):
            parts.extend(_message(message, comments, (_FILE_MESSAGES, index)))
        for index, enum in enumerate(file.enum_type):
            parts.extend(_enum(enum, comments, (_FILE_ENUMS, index)))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(protocol_reference())
