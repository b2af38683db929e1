"""The blocking client."""

# N = samples, H = height, W = width, C = channels, D = values of a vector, Z = latent

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from ganserve import _calls
from ganserve._config import DEFAULT_TIMEOUT_S, ClientConfig, check_timeout
from ganserve._errors import GanserveError
from ganserve._inputs import ScoreInputs
from ganserve._readiness import Readiness
from ganserve._requests import sample_request, stream_request
from ganserve._streams import SampleStream
from ganserve._transport import Transport

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from ganserve._batch import SampleBatch
    from ganserve._models import ModelInfo, ModelSummary
    from ganserve._scores import Scores
    from ganserve._types import ImagesLike, Labels


class Client:
    """A client of a ganserve server.

        with Client("localhost:50051") as client:
            batch = client.sample(16, label="7", seed=42)

    It connects with the first call, and any number of threads may use it. A call that meets an unreachable or starting
    server makes up to five attempts, with growing pauses, inside its deadline; each is the same request, because a
    sample without a seed gets one before the first.

    Args:
        target: The server: "host:port", "host" (port 50051), or a gRPC target with a scheme
            ("unix:/run/ganserve.sock"). Default: the environment variable GANSERVE_TARGET, else "localhost:50051".
        timeout_s: Default deadline of each call in seconds; math.inf waits for ever.

    Raises:
        InvalidRequest: The target or the deadline makes no sense.
    """

    def __init__(self, target: str | None = None, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self._transport = Transport(ClientConfig.of(target, timeout_s))

    @property
    def target(self) -> str:
        """The server's address."""
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
            return_scores: Whether to return the critic's scores and probabilities of the samples.
            return_latents: Whether to return the latents.
            timeout_s: Deadline in seconds, retries included; math.inf is none. Default: the client's.

        Returns:
            The samples: images uint8 [N, H, W, C] or vectors float32 [N, D].

        Raises:
            InvalidRequest: An argument is wrong.
            ModelNotFound: There is no such model or version.
            UnsupportedByModel: A label for an unconditional model, a control that the model has not, scores from a
                model without a critic and the like.
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
            return_scores=return_scores,
            return_latents=return_latents,
        )
        return self._transport.unary(_calls.sample(request, self._timeout_s(timeout_s)))

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
        return_scores: bool = False,
        return_latents: bool = False,
        chunk_size: int | None = None,
        timeout_s: float | None = None,
    ) -> SampleStream:
        """Draws any number of samples, and gives them in batches as they arrive; the samples are those of `sample`.

        The server draws no further ahead than this client reads. Leaving the loop early ends the call.

        Args:
            n: N, how many; at least 1, with no bound by size.
            label: As for `sample`.
            model: As for `sample`.
            version: As for `sample`.
            seed: As for `sample`.
            offset: As for `sample`.
            truncation: As for `sample`.
            controls: As for `sample`.
            return_scores: As for `sample`.
            return_latents: As for `sample`.
            chunk_size: Most samples in one batch. Default: the server chooses.
            timeout_s: Most seconds to wait for each batch, not for the whole stream, and without the time that the
                caller takes between batches; math.inf waits for ever. Default: the client's.

        Returns:
            An iterator of batches, which is also a context manager.

        Raises:
            InvalidRequest: An argument is wrong.
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
            return_scores=return_scores,
            return_latents=return_latents,
        )
        call = _calls.StreamCall(stream_request(request, chunk_size), self._timeout_s(timeout_s))
        return SampleStream(self._transport, call)

    def score(
        self,
        images: ImagesLike,
        label: Labels | None = None,
        *,
        model: str | None = None,
        version: int | None = None,
        timeout_s: float | None = None,
    ) -> Scores:
        """Scores samples with a model's critic.

        Args:
            images: What to score, or a sequence of such. Arrays: uint8 images [N, H, W, C], [H, W, C], or gray ones [N,
                H, W] (W > 4), [H, W]; float32 vectors [N, D], [D]. Pillow images, and paths of pictures (these need the
                extra `images`), which must have the model's size; gray becomes RGB and RGB gray where nothing is lost.
                A PNG that `SampleBatch.save_grid` or `save` wrote is cut into its samples, exactly.
            label: As for `sample`; conditional models need it, unless their critic takes none
                (`ModelInfo.critic_takes_labels`). Default: the labels that the PNGs carry, if the critic takes any.
            model: The model's name. Default: the one that drew the PNGs, if they tell, else the only one that is
                served.
            version: The model's version. Default: the latest that is ready.
            timeout_s: Deadline of each request in seconds, retries included; math.inf is none. Default: the client's.
                Pictures take two requests: the first asks for the model's size.

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
        call = _calls.score(inputs, info, model=model, version=version, timeout_s=self._timeout_s(timeout_s))
        return self._transport.unary(call)

    def models(self, *, timeout_s: float | None = None) -> list[ModelSummary]:
        """Lists the server's models, by name, with the state of each version.

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
        """Describes one version of a model.

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
        """Waits until the server has a model that is ready, and none of which the first version is still loading.

        Args:
            timeout_s: Most seconds to wait; math.inf waits for ever. Default: the client's.
            model: Waits for this model instead.

        Raises:
            ServerUnavailable: It is not ready in time; the message says what was missing.
            GanserveError: Any other failure; see the error's class.
        """
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
        """Closes the connection; calls of other threads end with `RequestCancelled`. Closing again does nothing."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.target!r})"

    def _timeout_s(self, timeout_s: float | None) -> float:
        return check_timeout(timeout_s, self._transport.config.timeout_s)
