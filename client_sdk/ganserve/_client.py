"""The blocking client."""

# N = samples, H = height, W = width, C = channels, D = values of a vector, Z = latent

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Self

from ganserve._calls import unary_calls as _calls
from ganserve._calls.channel import connect
from ganserve._calls.interpolation import Interpolation
from ganserve._calls.local import local_connection
from ganserve._calls.readiness import Readiness, refuse_name
from ganserve._calls.requests import sample_request, stream_request
from ganserve._calls.score_inputs import ScoreInputs
from ganserve._calls.stream_calls import SampleStreamCall, ScoreStreamCall
from ganserve._calls.streams import SampleStream, ScoreStream
from ganserve._calls.transport import Transport
from ganserve._config import DEFAULT_TIMEOUT_S, ClientConfig, check_timeout
from ganserve._errors import GanserveError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from ganserve._calls.channel import Interceptor
    from ganserve._calls.local import Provider
    from ganserve._config import Compression, Metadata
    from ganserve._results.batch import SampleBatch
    from ganserve._results.models import ModelInfo, ModelSummary
    from ganserve._results.scores import Scores
    from ganserve._results.selection import Selection
    from ganserve._types import Encoding, ImagesLike, Label, Labels, Priority


class Client:
    """A client of a ganserve server.

        with Client("localhost:50051") as client:
            batch = client.sample(16, label="7", seed=42)

    It connects with the first call, and any number of threads may use it. Calls, streams too, that meet an unreachable,
    draining or starting server, or one that is full and says when to come again, are tried again inside their deadline,
    with growing pauses of random length; each attempt is the same request, because a sample without a seed gets one
    before the first. Retries are logged by the logger "ganserve" at the level INFO.

    Args:
        target: The server: "host:port", "host" (port 50051), or a gRPC target with a scheme
            ("unix:/run/ganserve.sock"). Several, as a sequence or joined by commas, take turns, and stand in for each
            other. Default: the environment variable GANSERVE_TARGET, else "localhost:50051".
        timeout_s: Default deadline of each call in seconds; math.inf waits for ever, and less than 1 ms is 1 ms.
        max_attempts: Most attempts of one call, the first and those at other servers included; 1 never tries again.
            Default: 5, or enough to ask each of more servers.
        compression: Of what is sent. What is received is smaller with an `encoding`.
        metadata: Sent with every call, by name, such as {"authorization": "Bearer …"}.
        interceptors: GRPC's client interceptors (`grpc.UnaryUnaryClientInterceptor` and its siblings), the first one
            outermost.

    Raises:
        InvalidRequest: An argument makes no sense.
        GanserveError: This process was forked while its parent used gRPC, which can crash or hang in it.
    """

    def __init__(
        self,
        target: str | Sequence[str] | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_attempts: int | None = None,
        compression: Compression = "none",
        metadata: Metadata = (),
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        config = ClientConfig.of(
            target, timeout_s, max_attempts=max_attempts, compression=compression, metadata=metadata
        )
        self._transport = Transport(config, partial(connect, config, interceptors))

    @classmethod
    def local(
        cls,
        models: str | os.PathLike[str],
        *,
        provider: Provider = "auto",
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Self:
        """A client with the whole service inside this process: no server, no port (needs the extra `server`).

        Every method does what it does with a server. The models are loaded before this returns; `close()` ends them.

        Args:
            models: The folder of model packages, NAME/VERSION/; packages that come later are found.
            provider: Where models run.
            timeout_s: Default deadline of each call in seconds; math.inf waits for ever.

        Raises:
            InvalidRequest: There is no such folder, or it has nothing to serve, or the provider cannot be had.
            MissingExtra: The extra `server` is not installed.
        """
        client = cls.__new__(cls)
        client._transport = Transport(  # noqa: SLF001 - of its own class
            *local_connection(models, provider, timeout_s)
        )
        return client

    @property
    def target(self) -> str:
        """The server's address, or several joined by commas; "local:FOLDER" for a service in this process."""
        return self._transport.config.target

    def sample(
        self,
        n: int,
        label: Labels | None = None,
        *,
        model: str | None = None,
        version: int | None = None,
        seed: int | None = None,
        offset: int = 0,
        truncation: float | None = None,
        latents: npt.ArrayLike | None = None,
        controls: Mapping[str, float] | None = None,
        select: Selection | None = None,
        encoding: Encoding = "raw",
        priority: Priority = "normal",
        return_scores: bool = False,
        return_latents: bool = False,
        timeout_s: float | None = None,
    ) -> SampleBatch:
        """Draws samples.

        Sample i of (model version, seed, label, truncation, controls) is the same sample whatever n, the offset and the
        server's load.

        Args:
            n: N, how many; at least 1. An answer is at most 256 MiB: use `stream` for more.
            label: A label's name or index, or a sequence of N of one kind. Default: a conditional model draws each
                sample's label.
            model: The model's name. Default: the only one that is served.
            version: The model's version. Default: the latest that is ready.
            seed: Addresses the latents, 0 to 2^64 - 1. Default: drawn at random; the batch tells it.
            offset: Index of the first sample within the seed's sequence; offset + n is at most 2^48.
            truncation: Restricts each latent value to [-truncation, truncation]: less varied, more typical. Default: no
                truncation.
            latents: The latents themselves, float32 [N, Z], instead of seed, offset, truncation and controls.
            controls: Values of the model's controls by name (`ModelInfo.controls`), for all samples: {"c0": 0.5}. Those
                that are not named are drawn; setting one changes nothing else in a latent.
            select: Lets the critic choose among more samples than are returned: `BestOf(8)` keeps the best of each 8,
                `Rejection(max_proposals=64)` the first that it takes for real. `SampleBatch.selection` tells what came
                of it. Default: no selection.
            encoding: How the samples travel. "raw" and "png" give the same arrays, "png" in fewer bytes and more time
                ("png", "jpeg" and "webp" need the extra `images`); "jpeg" and "webp" lose a little; "float32" gives
                float32 images, 0 to 1.
            priority: Who goes first while requests wait at the server: "high" where somebody waits for the answer,
                "low" for data made in advance.
            return_scores: Whether to return the critic's scores and probabilities of the samples.
            return_latents: Whether to return the latents.
            timeout_s: Deadline in seconds, retries included; math.inf is none. Default: the client's.

        Returns:
            The samples: images uint8 [N, H, W, C] or vectors float32 [N, D].

        Raises:
            InvalidRequest: An argument is wrong.
            ModelNotFound: There is no such model or version.
            UnsupportedByModel: A label for an unconditional model, a control that the model has not, scores or a
                selection from a model without a critic and the like.
            MissingExtra: The encoding needs Pillow, which is not installed.
            ServerUnavailable: The server cannot be reached.
            GanserveError: Any other failure; see the error's class.
        """
        request = sample_request(
            n,
            label,
            model=model,
            version=version,
            seed=seed,
            offset=offset,
            truncation=truncation,
            latents=latents,
            controls=controls,
            select=select,
            encoding=encoding,
            priority=priority,
            return_scores=return_scores,
            return_latents=return_latents,
        )
        timeout_s = self._timeout_s(timeout_s)
        info = None
        if _calls.needs_description(request):
            info = self._transport.unary(_calls.describe_first(request, timeout_s))
        return self._transport.unary(_calls.sample(request, timeout_s, info))

    def stream(
        self,
        n: int,
        label: Labels | None = None,
        *,
        model: str | None = None,
        version: int | None = None,
        seed: int | None = None,
        offset: int = 0,
        truncation: float | None = None,
        controls: Mapping[str, float] | None = None,
        select: Selection | None = None,
        encoding: Encoding = "raw",
        priority: Priority = "normal",
        return_scores: bool = False,
        return_latents: bool = False,
        chunk_size: int | None = None,
        timeout_s: float | None = None,
    ) -> SampleStream:
        """Draws any number of samples, and gives them in batches as they arrive; the samples are those of `sample`.

        The server draws no further ahead than this client reads. Leaving the loop early ends the call. When the
        connection breaks, the stream goes on where it stopped, at the same version of the model: nothing is lost,
        nothing comes twice. Before the first batch it gives up after the client's `max_attempts`, as `sample`
        does; later, when no batch came for `timeout_s`, and says how to go on.

        Args:
            n: N, how many; at least 1, with no bound by size.
            label: As for `sample`.
            model: As for `sample`.
            version: As for `sample`.
            seed: As for `sample`.
            offset: As for `sample`.
            truncation: As for `sample`.
            controls: As for `sample`.
            select: As for `sample`.
            encoding: As for `sample`.
            priority: As for `sample`.
            return_scores: As for `sample`.
            return_latents: As for `sample`.
            chunk_size: Most samples in one batch. Default: the server chooses.
            timeout_s: Most seconds to wait for each batch, not for the whole stream, and without the time that the
                caller takes between batches; math.inf waits for ever. Default: the client's.

        Returns:
            An iterator of batches, which is also a context manager.

        Raises:
            InvalidRequest: An argument is wrong.
            MissingExtra: The encoding needs Pillow, which is not installed.
        """
        request = sample_request(
            n,
            label,
            model=model,
            version=version,
            seed=seed,
            offset=offset,
            truncation=truncation,
            latents=None,
            controls=controls,
            select=select,
            encoding=encoding,
            priority=priority,
            return_scores=return_scores,
            return_latents=return_latents,
        )
        call = SampleStreamCall(stream_request(request, chunk_size), self._timeout_s(timeout_s))
        return SampleStream(self._transport, call)

    def score(
        self,
        images: ImagesLike,
        label: Labels | None = None,
        *,
        model: str | None = None,
        version: int | None = None,
        priority: Priority = "normal",
        timeout_s: float | None = None,
    ) -> Scores:
        """Scores samples with a model's critic.

        Args:
            images: What to score, or a sequence of such. Samples and batches that were drawn, which know their labels.
                Arrays: uint8 images [N, H, W, C], [H, W, C], or gray ones [N, H, W] (W > 4), [H, W]; float32 vectors
                [N, D], [D], or the numbers of one vector; PyTorch tensors of these. Pillow images, and encoded pictures
                as paths, bytes or files open for reading bytes (these need the extra `images`), which must have the
                model's size; gray becomes RGB and RGB gray where nothing is lost. A PNG that `SampleBatch.save_grid` or
                `save` wrote is cut into its samples, exactly. Paths of folders: the PNG, JPEG, WebP, BMP and TIFF files
                in it, by name. Paths of what `save_npz` and `save_csv` wrote, or other .npz, .csv and .npy files.
            label: As for `sample`; conditional models need it, unless their critic takes none
                (`ModelInfo.critic_takes_labels`). Default: the labels that samples, batches and PNGs carry, if the
                critic takes any.
            model: The model's name. Default: the one that drew the samples, batches or PNGs, if they tell, else the
                only one that is served.
            version: The model's version. Default: the latest that is ready.
            priority: As for `sample`.
            timeout_s: Deadline of each request in seconds, retries included; math.inf is none. Default: the client's.
                Pictures, samples, batches, and arrays [2 to 4, H, W], which might be one image with its channels first,
                take two requests: the first asks for the model's size and whether it takes labels.

        Returns:
            The critic's scores and calibrated probabilities, in the order of the samples.

        Raises:
            InvalidRequest: An argument is wrong, or a picture does not fit the model.
            ModelNotFound: There is no such model or version.
            UnsupportedByModel: The model has no critic, or takes no labels.
            MissingExtra: There is a path, and Pillow is not installed.
            ServerUnavailable: The server cannot be reached.
            GanserveError: Any other failure; see the error's class.
        """
        inputs = ScoreInputs.read(images, label)
        model = model if model is not None else inputs.model
        info = self.model(model, version, timeout_s=timeout_s) if inputs.needs_model else None
        call = _calls.score(
            inputs, info, model=model, version=version, priority=priority, timeout_s=self._timeout_s(timeout_s)
        )
        return self._transport.unary(call)

    def score_stream(
        self,
        images: Iterable[ImagesLike],
        label: Label | Iterable[Labels] | None = None,
        *,
        model: str | None = None,
        version: int | None = None,
        priority: Priority = "normal",
        timeout_s: float | None = None,
    ) -> ScoreStream:
        """Scores any number of items, and gives the scores of each, in order, as they arrive.

        Up to 8 items, of 16 MiB at most together, are read and sent ahead of the one whose scores are due. All are
        scored by the version of the model that is asked for, or the latest when the first one is read. When the
        connection breaks, what has no scores yet is sent again.

        Args:
            images: The items, each as for `score`: `client.stream(…)` will do. A live source, which has no next item
                before the last one is answered, wants `score`.
            label: One label for all, or an iterable with one entry an item, each as for `score`. Default: the labels
                that samples, batches and PNGs carry, if the critic takes any.
            model: As for `score`.
            version: As for `score`.
            priority: As for `sample`.
            timeout_s: Most seconds to wait for the scores of each item, without the time that the caller and the
                iterable take; math.inf waits for ever. Default: the client's.

        Returns:
            An iterator of scores, one `Scores` an item, which is also a context manager. What the iterable raises, and
            what is wrong with an item, is raised after the scores of the items before it.

        Raises:
            InvalidRequest: An argument is wrong.
        """
        call = ScoreStreamCall(
            images, label, model=model, version=version, priority=priority, timeout_s=self._timeout_s(timeout_s)
        )
        return ScoreStream(self._transport, call)

    def interpolate(
        self,
        a: int | npt.ArrayLike,
        b: int | npt.ArrayLike,
        steps: int,
        label: Labels | None = None,
        *,
        model: str | None = None,
        version: int | None = None,
        truncation: float | None = None,
        encoding: Encoding = "raw",
        priority: Priority = "normal",
        return_scores: bool = False,
        timeout_s: float | None = None,
    ) -> SampleBatch:
        """Draws samples on the way from one latent to another, both ends included to the last bit.

        The way between normal latents is spherical (White 2016, "Sampling Generative Networks"), so that every latent
        on it is as long as those that the generator was trained on; uniform latents, and a model's controls, go
        straight.

        Args:
            a: Where it begins: a seed, which stands for the latent of its sample 0, or a latent, float32 [Z].
            b: Where it ends, likewise.
            steps: N, how many samples; at least 2.
            label: As for `sample`. Default: the label of a's sample, else of b's; conditional models need one if both
                are latents.
            model: As for `sample`.
            version: As for `sample`.
            truncation: As for `sample`; of the ends that are seeds.
            encoding: As for `sample`.
            priority: As for `sample`.
            return_scores: As for `sample`.
            timeout_s: Deadline of each request in seconds, retries included; math.inf is none. Default: the client's.
                There is one for the model, one for each seed, and one for the samples.

        Returns:
            The samples in order, with their latents.

        Raises:
            InvalidRequest: An argument is wrong, or a latent is not of the model's size.
            ModelNotFound: There is no such model or version.
            UnsupportedByModel: A label for an unconditional model and the like.
            ServerUnavailable: The server cannot be reached.
            GanserveError: Any other failure; see the error's class.
        """
        way = Interpolation(
            a,
            b,
            steps,
            label,
            truncation=truncation,
            encoding=encoding,
            priority=priority,
            return_scores=return_scores,
            timeout_s=self._timeout_s(timeout_s),
        )
        info = self.model(model, version, timeout_s=timeout_s)
        drawn = [self._transport.unary(call) for call in way.calls(info)]
        return self._transport.unary(way.call(info, drawn))

    def models(self, *, timeout_s: float | None = None) -> list[ModelSummary]:
        """List the server's models, by name, with the state of each version.

        Args:
            timeout_s: Deadline in seconds; math.inf is none. Default: the client's.

        Raises:
            ServerUnavailable: The server cannot be reached.
            GanserveError: Any other failure; see the error's class.
        """
        return self._transport.unary(_calls.list_models(self._timeout_s(timeout_s)))

    def model(
        self, name: str | None = None, version: int | None = None, *, timeout_s: float | None = None
    ) -> ModelInfo:
        """Describe one version of a model.

        Args:
            name: The model's name. Default: the only one that is served.
            version: The model's version. Default: the latest that is ready.
            timeout_s: Deadline in seconds; math.inf is none. Default: the client's.

        Raises:
            ModelNotFound: There is no such model or version.
            ServerUnavailable: The server cannot be reached.
            GanserveError: Any other failure; see the error's class.
        """
        return self._transport.unary(_calls.get_model(name, version, self._timeout_s(timeout_s)))

    def wait_until_ready(self, timeout_s: float | None = None, *, model: str | None = None) -> None:
        """Wait until the server has a model that is ready, and none of which the first version is still loading.

        Args:
            timeout_s: Most seconds to wait; math.inf waits for ever. Default: the client's.
            model: Waits for this model instead, which the server may not have found yet: it looks for new packages
                every 2 s, or as often as its `poll_s` says.

        Raises:
            ModelNotFound: The server has answered for 5 s, or `timeout_s`, without that model among its own; the
                message lists those.
            ServerUnavailable: It is not ready in time; the message says what was missing.
            GanserveError: Any other failure; see the error's class.
        """
        refuse_name(timeout_s)
        readiness = Readiness(model, self._timeout_s(timeout_s))
        pause_s = 1.0
        while pause_s:
            attempt = readiness.attempt()
            try:
                pause_s = readiness.answered(self._transport.unary(attempt))
            except GanserveError as error:
                pause_s = readiness.refused(error)
            time.sleep(pause_s)

    def close(self) -> None:
        """Close the connection; calls of other threads end with `RequestCancelled`. Closing again does nothing."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r})"

    def _timeout_s(self, timeout_s: float | None) -> float:
        return check_timeout(timeout_s, self._transport.config.timeout_s)
