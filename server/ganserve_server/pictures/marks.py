"""Mark the pictures of answers as generated, with what it takes to draw them again.

N = samples, Z = values of one latent, L, W = layers of a style-based generator and length of their w's.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganserve._marks.mark import Mark, request_options
from ganserve._marks.signing import SigningError
from ganserve._marks.xmp import MOST_SEGMENT_BYTES, MarkWriter, most_label_bytes
from ganserve_server.errors import FailedPreconditionError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from ganserve._marks.signing import C2paSigner
    from ganserve.v1 import gan_service_pb2
    from ganserve_server.models.model import Model

_log = logging.getLogger(__name__)
_SHARED_BYTES = 1024  # of a mark with a short name and without options; and of the format's frame around it


@dataclass(frozen=True, kw_only=True, slots=True)
class Marking:
    """Settings of a server's marks."""

    on: bool = True
    """False: not at all."""
    signer: C2paSigner | None = None
    """Adds a C2PA manifest, too; None: there is none."""


class RequestMarks:
    """Makes the marks of one request's pictures, without anything of other requests."""

    def __init__(self, model: Model, request: gan_service_pb2.SampleRequest, seed: int, marking: Marking) -> None:
        """`request` is valid; `seed` is the one in use."""
        info = self._info = model.info
        given = request.HasField("latents")
        options = request_options(request)
        shared = Mark(
            model=info.name,
            version=info.version,
            package_sha256=model.digest,
            seed=None if given else seed,
            options=options,
        )
        self._writer = MarkWriter(shared)
        self._signer = marking.signer
        self.most_bytes = _SHARED_BYTES + len(info.name) * 2 + 6 * len(options) + most_label_bytes(info.label_bytes)
        """Most bytes that marking adds to a file."""
        if given:
            self.most_bytes += _most_base64(4 * info.latent_dimension)
        if request.HasField("w") and info.style is not None:
            self.most_bytes += _most_base64(info.style.w_bytes)
        if self._signer is not None:
            self.most_bytes += self._signer.most_bytes

    def xmp(
        self,
        index: int,
        label: int | None,
        latent: NDArray[np.float32] | None = None,
        w: NDArray[np.float32] | None = None,
    ) -> bytes:
        """Return the XMP of the sample with this index and label.

        `latent`, float32 [Z], and `w`, float32 [L, W], are those that the request gave.
        """
        name = "" if label is None else self._info.label_names[label]
        return self._writer.sample(index, label, name, _bytes(latent), _bytes(w))

    @property
    def signed(self) -> Callable[[bytes, str], bytes] | None:
        """Returns a file, of a format by Pillow's name, with a C2PA manifest; None if the server has no certificate."""
        signer, name, version = self._signer, self._info.name, self._info.version
        if signer is None:
            return None

        def signed(file: bytes, form: str) -> bytes:
            try:
                return signer.sign(file, form, name, version)
            except SigningError as error:
                _log.error("%s", error)
                raise FailedPreconditionError(
                    "the server's certificate for C2PA no longer signs: tell who runs the server, or ask for unmarked "
                    "pictures or raw samples"
                ) from error

        return signed


def _bytes(values: NDArray[np.float32] | None) -> bytes:
    return b"" if values is None else values.astype("<f4", copy=False).tobytes()


def _most_base64(given: int) -> int:
    """Return the most bytes of a property with this many bytes of values, or those of the largest mark."""
    return min(given * 4 // 3, MOST_SEGMENT_BYTES) + 128
