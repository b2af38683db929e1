"""Define what a generated picture says about itself."""

# N = samples, Z = latent, L, W = layers of a style-based generator and length of their w's

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.message import Message

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's term for media that a trained model made."""
MOST_LATENT_BYTES = 2**15
"""Most bytes of given latents that a mark holds as they are; more are deflated."""
MOST_GIVEN_BYTES = 2**23
"""Most bytes of given latents, and of given w's, before they are deflated."""
MOST_OPTIONS_BYTES = 2**13
_MOST_NAME_LETTERS = 256
# What a mark has properties of its own for, and what does not change a sample.
_NO_OPTIONS = frozenset(
    {
        "model",
        "version",
        "count",
        "label_indices",
        "label_names",
        "seed",
        "offset",
        "latents",
        "encoding",
        "return_latents",
        "return_scores",
        "priority",
        "return_w",
        "unmarked",
        "w",
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """The mark of a picture: its model, and what it takes to draw it again."""

    model: str
    """Name of the model; empty: unknown."""
    version: int = 0
    """Version of the model; 0: unknown."""
    package_sha256: str = ""
    """SHA-256 of the package's manifest; empty: unknown."""
    seed: int | None = None
    """The seed; None: the latents were given, or it is unknown."""
    index: int | None = None
    """The sample's index in the seed's sequence; None for a picture of several samples."""
    label_index: int | None = None
    """The label's index; None: the model is unconditional, or the picture has several samples."""
    label: str = ""
    """The label's name for display: shortened, without characters that XML cannot hold."""
    samples: int = 1
    """Number of samples in the picture."""
    options: str = ""
    """Other fields of the SampleRequest that determine the sample, such as truncation, as JSON; empty: none."""
    latents: bytes = b""
    """The given latents, little-endian float32 [N, Z]; empty: the latents were drawn."""
    w: bytes = b""
    """The given w's, little-endian float32 [N, L, W]; empty: they were made from the latents."""
    complete: bool = True
    """False if the mark has no room for all that it takes to draw the sample again."""


def request_options(request: Message) -> str:
    """Return the fields of a SampleRequest that determine its samples besides model, seed, index and label, as JSON."""
    if not any(field.name not in _NO_OPTIONS for field, _ in request.ListFields()):
        return ""
    from google.protobuf import json_format

    fields = json_format.MessageToDict(request, preserving_proto_field_name=True)
    kept = {name: value for name, value in fields.items() if name not in _NO_OPTIONS}
    return json.dumps(kept, sort_keys=True, separators=(",", ":"))


def short_name(name: str) -> str:
    """Return a name for display, shortened."""
    return name if len(name) <= _MOST_NAME_LETTERS else f"{name[: _MOST_NAME_LETTERS - 1]}…"
