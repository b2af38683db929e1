# Generated from _async_scorer.py by scripts/generate_sync_client.py: edit that file, then `make generate`.
"""Score samples: the part of the client that asks a model's critic."""

# N = samples, H = height, W = width, C = channels, D = values of a vector

from __future__ import annotations

from typing import TYPE_CHECKING

from ganserve._calls import unary_calls
from ganserve._calls.score_inputs import ScoreInputs
from ganserve._calls.stream_calls import ScoreStreamCall
from ganserve._calls.streams import ScoreStream
from ganserve._calls.waiting import in_thread
from ganserve._connection import Connection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ganserve._results.scores import Scores
    from ganserve._types import ImagesLike, Label, Labels, Priority


class Scorer(Connection):
    """The base of `Client`, which documents the arguments."""

    def score(
        self,
        images: ImagesLike,
        label: Labels | None = None,
        *,
        model: str | None = None,
        version: int | None = None,
        fit: bool = False,
        priority: Priority = "normal",
        timeout_s: float | None = None,
    ) -> Scores:
        """Score samples with a model's critic.

        Args:
            images: Samples to score, or a sequence of these. Drawn samples and batches, with their labels.
                Arrays: uint8 images [N, H, W, C], [H, W, C], or gray ones [N, H, W] (W > 4), [H, W]; float32 vectors
                [N, D], [D], or the numbers of one vector; PyTorch tensors of these. Pillow images, and encoded pictures
                as paths, bytes or files open for reading bytes (these need the extra `images`), which must have the
                model's size, or see `fit`; gray becomes RGB and RGB gray where nothing is lost. A PNG that
                `SampleBatch.save_grid` or `save` wrote is cut into its samples, exactly. Paths of folders: the PNG,
                JPEG, WebP, BMP and TIFF files in it, by name. Paths of what `save_npz` and `save_csv` wrote, or other
                .npz, .csv and .npy files.
            label: As for `sample`; conditional models need it, unless their critic takes none
                (`ModelInfo.critic_takes_labels`). Default: the labels that samples, batches and PNGs carry, if the
                critic takes any.
            model: The model's name. Default: the one that drew the samples, batches or PNGs, if known, else the
                client's, else the server's only model.
            version: The model's version. Default: the latest that is ready.
            fit: Cut and resize pictures of another size to the model's, and convert their colours; else they are
                refused. Such scores say less: the critic has never seen resized pictures.
            priority: As for `sample`.
            timeout_s: Deadline of each request in seconds, retries included; math.inf is none. Default: the client's.
                Pictures, samples, batches, and arrays [2 to 4, H, W], which might be one image with its channels first,
                take two requests: the first asks for the model's size and whether it takes labels.

        Returns:
            The critic's scores, the calibrated probabilities that the samples are real rather than this generator's,
            and which samples are unlike the training data, in the order of the samples.

        Raises:
            InvalidRequest: An argument is wrong, or a picture does not fit the model.
            UnsupportedByModel: The model has no critic, or takes no labels.
            MissingExtra: There is a path, and Pillow is not installed.
            GanserveError: Any other failure, as for `sample`.
        """
        inputs = in_thread(ScoreInputs.read, images, label, fit)
        model = self._model_name(inputs.model if model is None else model)
        info = self.model(model, version, timeout_s=timeout_s) if inputs.needs_model else None
        timeout_s = self._timeout_s(timeout_s)
        call = unary_calls.score(inputs, info, model=model, version=version, priority=priority, timeout_s=timeout_s)
        return self._transport.unary(call)

    def score_stream(
        self,
        images: Iterable[ImagesLike],
        label: Label | Iterable[Labels] | None = None,
        *,
        model: str | None = None,
        version: int | None = None,
        fit: bool = False,
        priority: Priority = "normal",
        timeout_s: float | None = None,
    ) -> ScoreStream:
        """Score any number of items and return the scores of each, in order, as they arrive.

        The stream reads and sends up to 8 items, of 16 MiB together, ahead of the scores. One version of the model
        scores all items. When the connection breaks, the stream sends the items without scores again.

        Args:
            images: The items, each as for `score`, such as `client.stream(…)`. For a live source, whose next item
                depends on the last answer, use `score`.
            label: One label for all, or an iterable with one entry an item, each as for `score`. Default: the labels
                that samples, batches and PNGs carry, if the critic takes any.
            model: As for `score`.
            version: As for `score`.
            fit: As for `score`.
            priority: As for `sample`.
            timeout_s: Most seconds to wait for the scores of each item, without the time that the caller and the
                iterable take; math.inf waits for ever. Default: the client's.

        Returns:
            An iterator of scores, one `Scores` an item, and a context manager. An error of
            the iterable or of an item is raised after the scores of the items before it.

        Raises:
            InvalidRequest: An argument is wrong.
        """
        timeout_s = self._timeout_s(timeout_s)
        call = ScoreStreamCall(
            images,
            label,
            model=model,
            default_model=self._transport.config.model,
            version=version,
            fit=fit,
            priority=priority,
            timeout_s=timeout_s,
        )
        return ScoreStream(self._transport, call)
