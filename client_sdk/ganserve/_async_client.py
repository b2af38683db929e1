"""The asyncio client."""

# N = samples, H = height, W = width, C = channels, D = values of a vector, Z = latent

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Self

from ganserve._calls import unary_calls as _calls
from ganserve._calls.async_streams import AsyncSampleStream, AsyncScoreStream
from ganserve._calls.channel import async_connect
from ganserve._calls.interpolation import Interpolation
from ganserve._calls.local import async_local_connection
from ganserve._calls.readiness import Readiness, refuse_name
from ganserve._calls.requests import sample_request, stream_request
from ganserve._calls.score_inputs import ScoreInputs
from ganserve._calls.stream_calls import SampleStreamCall, ScoreStreamCall
from ganserve._calls.transport import AsyncTransport
from ganserve._config import DEFAULT_TIMEOUT_S, ClientConfig, check_timeout
from ganserve._errors import GanserveError

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterable, Iterable, Mapping, Sequence

    import grpc
    import numpy.typing as npt

    from ganserve._calls.local import Provider
    from ganserve._config import Compression, Metadata
    from ganserve._results.batch import SampleBatch
    from ganserve._results.models import ModelInfo, ModelSummary
    from ganserve._results.scores import Scores
    from ganserve._results.selection import Selection
    from ganserve._types import Encoding, ImagesLike, Label, Labels, Priority


class AsyncClient:
    """A client of a ganserve server for asyncio; every method does what `Client`'s does.

        async with AsyncClient("localhost:50051") as client:
            batch = await client.sample(16, label="7", seed=42)
            async for batch in client.stream(10_000):
                ...

    It connects with the first call and belongs to the event loop that runs then, of which any number of tasks may use
    it. Cancelling a task cancels its call.

    Args:
        target: As for `Client`.
        timeout_s: Default deadline of each call in seconds; math.inf waits for ever.
        max_attempts: As for `Client`.
        compression: As for `Client`.
        metadata: As for `Client`.
        interceptors: GRPC's interceptors of asyncio clients, the first one outermost.

    Raises:
        InvalidRequest: An argument makes no sense.
    """

    def __init__(
        self,
        target: str | Sequence[str] | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_attempts: int | None = None,
        compression: Compression = "none",
        metadata: Metadata = (),
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
    ) -> None:
        config = ClientConfig.of(
            target, timeout_s, max_attempts=max_attempts, compression=compression, metadata=metadata
        )
        self._transport = AsyncTransport(config, partial(async_connect, config, interceptors))

    @classmethod
    def local(
        cls,
        models: str | os.PathLike[str],
        *,
        provider: Provider = "auto",
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Self:
        """A client with the whole service inside this process: no server, no port (needs the extra `server`).

        See `Client.local`. This returns at once; the models are loaded in another thread, from the first call on, which
        waits for them. What is wrong with them, that call raises.
        """
        client = cls.__new__(cls)
        client._transport = AsyncTransport(  # noqa: SLF001 - of its own class
            *async_local_connection(models, provider, timeout_s)
        )
        return client

    @property
    def target(self) -> str:
        """The server's address, or several joined by commas; "local:FOLDER" for a service in this process."""
        return self._transport.config.target

    async def sample(
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
        """Draws samples: images uint8 [N, H, W, C] or vectors float32 [N, D]; see `Client.sample`."""
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
            info = await self._transport.unary(_calls.describe_first(request, timeout_s))
        return await self._transport.unary(_calls.sample(request, timeout_s, info))

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
    ) -> AsyncSampleStream:
        """Draws any number of samples in batches, as they arrive; see `Client.stream`. Iterate it, don't await it."""
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
        return AsyncSampleStream(self._transport, call)

    async def score(
        self,
        images: ImagesLike,
        label: Labels | None = None,
        *,
        model: str | None = None,
        version: int | None = None,
        priority: Priority = "normal",
        timeout_s: float | None = None,
    ) -> Scores:
        """Scores samples with a model's critic; see `Client.score`. Files are read in another thread."""
        inputs = await asyncio.to_thread(ScoreInputs.read, images, label)
        model = model if model is not None else inputs.model
        info = await self.model(model, version, timeout_s=timeout_s) if inputs.needs_model else None
        call = _calls.score(
            inputs, info, model=model, version=version, priority=priority, timeout_s=self._timeout_s(timeout_s)
        )
        return await self._transport.unary(call)

    def score_stream(
        self,
        images: Iterable[ImagesLike] | AsyncIterable[ImagesLike],
        label: Label | Iterable[Labels] | None = None,
        *,
        model: str | None = None,
        version: int | None = None,
        priority: Priority = "normal",
        timeout_s: float | None = None,
    ) -> AsyncScoreStream:
        """Scores any number of items, in order, as they arrive; see `Client.score_stream`. Iterate it, don't await it.

        The items may come from an asynchronous iterable, such as `client.stream(…)`.
        """
        call = ScoreStreamCall(
            images, label, model=model, version=version, priority=priority, timeout_s=self._timeout_s(timeout_s)
        )
        return AsyncScoreStream(self._transport, call)

    async def interpolate(
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
        """Draws samples on the way from one latent, or seed, to another; see `Client.interpolate`."""
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
        info = await self.model(model, version, timeout_s=timeout_s)
        drawn = [await self._transport.unary(call) for call in way.calls(info)]
        return await self._transport.unary(way.call(info, drawn))

    async def models(self, *, timeout_s: float | None = None) -> list[ModelSummary]:
        """List the server's models, by name, with the state of each version; see `Client.models`."""
        return await self._transport.unary(_calls.list_models(self._timeout_s(timeout_s)))

    async def model(
        self, name: str | None = None, version: int | None = None, *, timeout_s: float | None = None
    ) -> ModelInfo:
        """Describe one version of a model; see `Client.model`."""
        return await self._transport.unary(_calls.get_model(name, version, self._timeout_s(timeout_s)))

    async def wait_until_ready(self, timeout_s: float | None = None, *, model: str | None = None) -> None:
        """Wait until the server answers and has a model that is ready; see `Client.wait_until_ready`."""
        refuse_name(timeout_s)
        readiness = Readiness(model, self._timeout_s(timeout_s))
        pause_s = 1.0
        while pause_s:
            attempt = readiness.attempt()
            try:
                pause_s = readiness.answered(await self._transport.unary(attempt))
            except GanserveError as error:
                pause_s = readiness.refused(error)
            await asyncio.sleep(pause_s)

    async def close(self) -> None:
        """Close the connection; calls of other tasks end with `RequestCancelled`. Closing again does nothing."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r})"

    def _timeout_s(self, timeout_s: float | None) -> float:
        return check_timeout(timeout_s, self._transport.config.timeout_s)
