"""Mark the pictures that the SDK writes as generated, with what it takes to draw them again."""

# N = samples, Z = latent, L, W = layers of a style-based generator and length of their w's

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ganserve._argument_checks import kind_of
from ganserve._errors import InvalidRequest, MissingExtra
from ganserve._marks.files import png_with_xmp
from ganserve._marks.mark import Mark
from ganserve._marks.signing import C2paSigner, NoC2paError, SigningError
from ganserve._marks.xmp import MarkWriter

if TYPE_CHECKING:
    import os

    import numpy as np
    import numpy.typing as npt

    from ganserve._results.batch_fields import Drawn, DrawnSample
    from ganserve._results.origin import Origin


class PictureSigner(C2paSigner):
    """Signs pictures with C2PA manifests, which say who vouches that they are generated (needs the extra `c2pa`).

        signer = PictureSigner("certificate.pem", "key.pem")
        batch.save("samples", mark=signer)

    Any thread may use it. When the files change, it uses the new ones. It asks no authority for time stamps, and
    nothing leaves the machine.

    Args:
        certificate: PEM file of the certificate, followed by those of the authorities between it and the root.
        key: PEM file of its private key, not encrypted.

    Raises:
        InvalidRequest: A file cannot be read, or they cannot sign C2PA manifests.
        MissingExtra: The extra `c2pa` is not installed.
    """

    def __init__(self, certificate: str | os.PathLike[str], key: str | os.PathLike[str]) -> None:
        try:
            super().__init__(certificate, key)
        except SigningError as error:
            raise InvalidRequest.of(error.argument, str(error)) from error
        except NoC2paError as error:
            raise MissingExtra.of("c2pa", "c2pa-python", "signing pictures") from error

    def sign(self, file: bytes, form: str, model: str = "", version: int = 0) -> bytes:
        """Return a picture file, PNG, JPEG or WEBP, with a manifest that says that a model made it.

        Raises InvalidRequest if the certificate no longer signs, as after its end.
        """
        try:
            return super().sign(file, form, model, version)
        except SigningError as error:
            raise InvalidRequest.of(error.argument, str(error)) from error


Marking: TypeAlias = bool | PictureSigner
"""Marks of a picture: True: XMP; a `PictureSigner`: XMP and a C2PA manifest; False: none."""


def check_marking(mark: Marking) -> Marking:
    """Return a marking, or raise InvalidRequest."""
    if not isinstance(mark, bool | PictureSigner):
        raise InvalidRequest.of("mark", f"is {kind_of(mark)}; expected True, False or a PictureSigner")
    return mark


def marked_png(file: bytes, batch: Drawn, mark: Marking) -> bytes:
    """Return a PNG of a batch's samples with their mark."""
    if mark is False:
        return file
    marked = png_with_xmp(file, batch_xmp(batch))
    if not isinstance(mark, PictureSigner):
        return marked
    try:
        return mark.sign(marked, "PNG", batch.model, batch.version)
    except SigningError as error:
        raise InvalidRequest.of("mark", f"is a PictureSigner that no longer signs: {error}") from error


def batch_xmp(batch: Drawn) -> bytes:
    """Return the XMP of a picture of all samples of a batch."""
    latents, w, complete = _given(batch.seed, batch.latents, batch.w, batch.origin)
    writer = _writer(batch.model, batch.version, batch.seed, batch.origin, complete=complete)
    if len(batch.indices) > 1:
        return writer.picture(len(batch.indices), latents, w)
    label = None if batch.labels is None else int(batch.labels[0])
    name = "" if batch.label_names is None else batch.label_names[0]
    return writer.sample(int(batch.indices[0]), label, name, latents, w)


def sample_xmp(sample: DrawnSample) -> bytes:
    """Return the XMP of a picture of one sample; see `Sample.xmp`."""
    latent, w, complete = _given(sample.seed, sample.latent, sample.w, sample.origin)
    writer = _writer(sample.model, sample.version, sample.seed, sample.origin, complete=complete)
    return writer.sample(sample.index, sample.label, sample.label_name or "", latent, w)


def _given(
    seed: int | None,
    latents: npt.NDArray[np.float32] | None,
    w: npt.NDArray[np.float32] | None,
    origin: Origin | None,
) -> tuple[bytes, bytes, bool]:
    """Return the latents and w's that the request gave, and whether these are all."""
    parts = [latents] if seed is None else []
    kept = latents.astype("<f4").tobytes() if seed is None and latents is not None else b""
    kept_w = b""
    if origin is not None and origin.w_given:
        parts.append(w)
        kept_w = b"" if w is None else w.astype("<f4").tobytes()
    return kept, kept_w, all(part is not None for part in parts)


def _writer(model: str, version: int, seed: int | None, origin: Origin | None, *, complete: bool) -> MarkWriter:
    mark = Mark(
        model=model,
        version=version,
        package_sha256="" if origin is None else origin.package_sha256,
        seed=seed,
        options="" if origin is None else origin.options,
        complete=complete and (origin is None or origin.complete),
    )
    return MarkWriter(mark)
