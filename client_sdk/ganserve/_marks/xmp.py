"""Write marks as XMP (ISO 16684-1), and read them from files of strangers.

Digital source type and AI system are properties of IPTC's Photo Metadata Standard (2025.1), which search engines and
editors read; what it takes to draw the sample again has a namespace of its own.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from dataclasses import replace
from xml.parsers import expat

from ganserve._marks.mark import (
    DIGITAL_SOURCE_TYPE,
    MOST_GIVEN_BYTES,
    MOST_LATENT_BYTES,
    MOST_OPTIONS_BYTES,
    Mark,
    short_name,
)

MOST_XMP_BYTES = 2**20
"""Most bytes of XMP that are read, and of a mark in a PNG of several samples."""
MOST_SEGMENT_BYTES = 65_000
"""Most bytes of the mark of one sample: it must fit into the 64 KiB of a JPEG's segment."""
_OWN = "urn:ganserve:mark:1#"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_HEAD = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    f'<rdf:RDF xmlns:rdf="{_RDF}"><rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{_IPTC}" '
    f'Iptc4xmpExt:DigitalSourceType="{DIGITAL_SOURCE_TYPE}"'
)
_TAIL = '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
# `re` compiles it when it is needed, as that takes milliseconds.
_NOT_XML = "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
# By hand: the standard library's functions load its HTTP client.
_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)
_NUMBER, _SHA256 = re.compile("[0-9]{1,20}"), re.compile("[0-9a-f]{64}")


class MarkError(ValueError):
    """A mark is damaged, or not to be trusted; the message says why."""


class MarkWriter:
    """Writes the marks of the samples of one request; what they share is written once."""

    def __init__(self, shared: Mark) -> None:
        """Take the mark without its index, label and latents."""
        self._complete = shared.complete and len(shared.options) <= MOST_OPTIONS_BYTES
        head, tail = [_HEAD], [">"]
        if shared.model:
            head += [
                f" Iptc4xmpExt:AISystemUsed={_attribute(f'ganserve model {short_name(shared.model)}')}",
                f' Iptc4xmpExt:AISystemVersionUsed="{shared.version}"',
                f' xmlns:ganserve="{_OWN}"',
                f" ganserve:Model={_attribute(short_name(shared.model))}",
                f' ganserve:Version="{shared.version}"',
            ]
            if shared.package_sha256:
                head.append(f" ganserve:PackageSha256={_attribute(shared.package_sha256[:64])}")
            if shared.seed is not None:
                head.append(f' ganserve:Seed="{shared.seed}"')
            if shared.options and len(shared.options) <= MOST_OPTIONS_BYTES:
                tail.append(f"<ganserve:Options>{shared.options.translate(_ESCAPES)}</ganserve:Options>")
        tail.append(f"</rdf:Description>{_TAIL}")
        self._head, self._tail = "".join(head), "".join(tail)
        self._labels: dict[int, str] = {}

    def sample(
        self, index: int, label_index: int | None = None, label: str = "", latent: bytes = b"", w: bytes = b""
    ) -> bytes:
        """Return the XMP of a picture of one sample.

        `latent` [Z] and `w` [L, W] are given ones, little-endian float32.
        """
        parts = [self._head]
        if not latent:  # given latents have no sequence
            parts.append(f' ganserve:Index="{index}"')
        if label_index is not None:
            if label_index not in self._labels:
                name = _attribute(short_name(label))
                self._labels[label_index] = f' ganserve:LabelIndex="{label_index}" ganserve:Label={name}'
            parts.append(self._labels[label_index])
        return self._written(parts, latent, w, MOST_SEGMENT_BYTES)

    def picture(self, samples: int, latents: bytes = b"", w: bytes = b"") -> bytes:
        """Return the XMP of a PNG of several samples; `latents` [N, Z] and `w` [N, L, W] are given ones."""
        parts = [self._head]
        if samples:
            parts.append(f' ganserve:Samples="{samples}"')
        return self._written(parts, latents, w, MOST_XMP_BYTES)

    def _written(self, parts: list[str], latents: bytes, w: bytes, most: int) -> bytes:
        given = _given("Latents", latents) + _given("W", w)
        fits = max(len(latents), len(w)) <= MOST_GIVEN_BYTES
        if fits and self._complete:
            whole = "".join([*parts, given, self._tail]).encode()
            if len(whole) <= most:
                return whole
        return "".join([*parts, ' ganserve:Complete="False"', self._tail]).encode()


def _given(name: str, values: bytes) -> str:
    """Return a property with values: as they are, or deflated, where many may be equal."""
    if not values or len(values) > MOST_GIVEN_BYTES:
        return ""
    if name == "Latents" and len(values) <= MOST_LATENT_BYTES:
        return f' ganserve:{name}="{base64.b64encode(values).decode()}"'
    return f' ganserve:Deflated{name}="{base64.b64encode(zlib.compress(values)).decode()}"'


def generated_xmp() -> bytes:
    """Return the XMP of a generated picture whose model is unknown, such as one of a training."""
    return MarkWriter(Mark(model="")).picture(0)


def most_label_bytes(name_bytes: int) -> int:
    """Return the most bytes of one sample's label and index in XMP, for names of at most this many bytes."""
    return 6 * min(name_bytes, 4 * 256) + 128  # the longest escape is &quot;


def read_mark(xmp: bytes) -> tuple[Mark | None, str]:
    """Return the mark of XMP, None if it is not ganserve's, and the digital source type that it states, or "".

    Document types, and with them entities, are refused. Raises MarkError.
    """
    if len(xmp) > MOST_XMP_BYTES:
        raise MarkError(f"its XMP has {len(xmp):,} bytes; expected at most {MOST_XMP_BYTES:,}")
    properties = _properties(xmp)
    source_type = properties.get(f"{_IPTC} DigitalSourceType", "")
    own = {name.removeprefix(f"{_OWN} "): text for name, text in properties.items() if name.startswith(f"{_OWN} ")}
    return (_mark(own) if own else None), source_type


def _attribute(text: str) -> str:
    readable = re.sub(_NOT_XML, "\ufffd", text)
    return f'"{readable.translate(_ESCAPES)}"'


def _mark(own: dict[str, str]) -> Mark:
    def number(name: str, most: int = 2**64 - 1) -> int | None:
        if name not in own:
            return None
        if not _NUMBER.fullmatch(own[name]) or int(own[name]) > most:
            raise MarkError(f"its mark has {name} {own[name][:40]!r}; expected a number from 0 to {most}")
        return int(own[name])

    sha256 = own.get("PackageSha256", "")
    if sha256 and not _SHA256.fullmatch(sha256):
        raise MarkError(f"its mark has PackageSha256 {sha256[:80]!r}; expected 64 hexadecimal digits")
    mark = Mark(
        model=own.get("Model", ""),
        version=number("Version", 2**32 - 1) or 0,
        package_sha256=sha256,
        seed=number("Seed"),
        index=number("Index", 2**48 - 1),
        label_index=number("LabelIndex", 2**32 - 1),
        label=own.get("Label", ""),
        samples=number("Samples", 2**32 - 1) or 1,
        options=own.get("Options", ""),
        latents=_values(own, "Latents"),
        w=_values(own, "W"),
    )
    return mark if own.get("Complete", "True") == "True" else replace(mark, complete=False)


def _values(own: dict[str, str], name: str) -> bytes:
    """Return the values of a property, deflated or not; empty without it."""
    try:
        plain = base64.b64decode(own.get(name, ""), validate=True)
        deflated = base64.b64decode(own.get(f"Deflated{name}", ""), validate=True)
        if not deflated:
            return plain
        inflating = zlib.decompressobj()
        values = inflating.decompress(deflated, MOST_GIVEN_BYTES)
    except (binascii.Error, zlib.error) as error:
        raise MarkError(f"its mark has {name} that are damaged ({error})") from error
    if not inflating.eof:
        raise MarkError(f"its mark has {name} that are cut off, or more than {MOST_GIVEN_BYTES:,} bytes of them")
    return values


def _properties(xmp: bytes) -> dict[str, str]:
    """Return the simple properties of an XMP packet, by "NAMESPACE NAME": RDF writes them as attributes or elements."""
    found: dict[str, str] = {}
    open_elements: list[str] = []
    text: list[str] = []

    def add(name: str, value: str) -> None:
        if found.setdefault(name, value) != value:
            raise MarkError(f"its XMP has two values of {name.rpartition(' ')[2][:40]}")

    def start(name: str, attributes: dict[str, str]) -> None:
        open_elements.append(name)
        text.clear()
        if name == f"{_RDF} Description" and len(open_elements) <= 3:
            for key, value in attributes.items():
                add(key, value)

    def end(name: str) -> None:
        # x:xmpmeta, which may be missing, rdf:RDF, rdf:Description, the property
        if open_elements[-2:-1] == [f"{_RDF} Description"] and len(open_elements) <= 4:
            add(name, "".join(text).strip())
        open_elements.pop()
        text.clear()

    def refuse(*_: object) -> None:
        raise MarkError("its XMP has a document type, which XMP never has")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text.append
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(xmp, True)
    except (expat.ExpatError, ValueError) as error:
        raise error if isinstance(error, MarkError) else MarkError(f"its XMP is damaged ({error})") from error
    return found
