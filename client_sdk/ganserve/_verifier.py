# Generated from _async_verifier.py by scripts/generate_sync_client.py: edit that file, then `make generate`.
"""Verify pictures: the part of the client that draws the samples of a picture again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganserve._calls.redrawing import NotDrawableError, Told
from ganserve._calls.verification import REFUSALS, Verification
from ganserve._calls.waiting import in_thread
from ganserve._connection import Connection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ganserve._results.selection import Selection
    from ganserve._results.verdict import PictureVerdict
    from ganserve._types import File, Label


class Verifier(Connection):
    """The base of `Client`, which documents the arguments."""

    def verify(
        self,
        picture: File,
        *,
        model: str | None = None,
        version: int | None = None,
        seed: int | None = None,
        index: int | None = None,
        label: Label | None = None,
        truncation: float | None = None,
        controls: Mapping[str, float] | None = None,
        select: Selection | None = None,
        timeout_s: float | None = None,
    ) -> PictureVerdict:
        """Draw a picture's samples again from its mark, and say whether it shows them, bit for bit or how far.

        Pictures that ganserve writes say what it takes. Where that was removed, tell the model and the seed; without
        index or label, the first samples of the seed are tried with each label. What you tell counts more than the
        mark.

        Args:
            picture: A PNG, JPEG or WebP: its path, its bytes, or a file opened for reading bytes.
            model: The model's name. Default: the mark's, else the client's, else the server's only model.
            version: The model's version. Default: the mark's, else the latest that is ready.
            seed: The seed. Default: the mark's.
            index: Index of the sample in the seed's sequence. Default: the mark's, else the first ones are tried.
            label: The sample's label, by name or index. Default: the mark's, else each is tried.
            truncation: As for `sample`. Default: the mark's, else none.
            controls: As for `sample`. Default: the mark's, else none.
            select: As for `sample`. Default: the mark's, else none.
            timeout_s: Deadline of each request in seconds, retries included; math.inf is none. Default: the client's.
                There is one request for the model, and one for each part of the samples.

        Returns:
            How the picture compares with its samples, and what it says about itself. If they cannot be drawn again, as
            when the model is gone, the likeness is "unknown" and the reason says why.

        Raises:
            InvalidRequest: An argument is wrong, or the picture cannot be read.
            ModelNotFound: There is no such model or version as you told.
            MissingExtra: Pillow is not installed.
            GanserveError: Any other failure, as for `sample`.
        """
        told = Told.of(
            model=model,
            version=version,
            seed=seed,
            index=index,
            label=label,
            truncation=truncation,
            controls=controls,
            select=select,
        )
        check = in_thread(Verification, picture, told, self._timeout_s(timeout_s))
        try:
            info = self.model(check.model, check.version, timeout_s=timeout_s)
            calls = in_thread(check.calls, info)
            drawn = [self._transport.unary(call) for call in calls]
            other_calls = in_thread(check.other_calls, drawn)
            others = [self._transport.unary(call) for call in other_calls]
        except (NotDrawableError, *REFUSALS) as error:
            return check.undrawn(error)
        return in_thread(check.verdict, others)
