"""The asyncio client."""

# N = samples, H = height, W = width, C = channels, D = values of a vector, Z = latent

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from ganserve import _calls
from ganserve._config import DEFAULT_TIMEOUT_S, ClientConfig, check_timeout
from ganserve._errors import GanserveError
from ganserve._inputs import ScoreInputs
from ganserve._readiness import Readiness
from ganserve._requests import sample_request, stream_request
from ganserve._streams import AsyncSampleStream
from ganserve._transport import AsyncTransport

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from ganserve._batch import SampleBatch
    from ganserve._models import ModelInfo, ModelSummary
    from ganserve._scores import Scores
    from ganserve._types import ImagesLike, Labels


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

    Raises:
        InvalidRequest: The target or the deadline makes no sense.
    """

    def __init__(self, target: str | None = None, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self._transport = AsyncTransport(ClientConfig.of(target, timeout_s))

    @property
    def target(self) -> str:
        """The server's address."""
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
            return_scores=return_scores,
            return_latents=return_latents,
        )
        return await self._transport.unary(_calls.sample(request, self._timeout_s(timeout_s)))

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
            return_scores=return_scores,
            return_latents=return_latents,
        )
        call = _calls.StreamCall(stream_request(request, chunk_size), self._timeout_s(timeout_s))
        return AsyncSampleStream(self._transport, call)

    async def score(
        self,
        images: ImagesLike,
        label: Labels | None = None,
        *,
        model: str | None = None,
        version: int | None = None,
        timeout_s: float | None = None,
    ) -> Scores:
        """Scores samples with a model's critic; see `Client.score`. Files are read in another thread."""
        inputs = await asyncio.to_thread(ScoreInputs.read, images, label)
        model = model if model is not None else inputs.model
        info = await self.model(model, version, timeout_s=timeout_s) if inputs.needs_model else None
        call = _calls.score(inputs, info, model=model, version=version, timeout_s=self._timeout_s(timeout_s))
        return await self._transport.unary(call)

    async def models(self, *, timeout_s: float | None = None) -> list[ModelSummary]:
        """Lists the server's models, by name, with the state of each version; see `Client.models`."""
        return await self._transport.unary(_calls.list_models(self._timeout_s(timeout_s)))

    async def model(
        self, name: str | None = None, version: int | None = None, *, timeout_s: float | None = None
    ) -> ModelInfo:
        """Describes one version of a model; see `Client.model`."""
        return await self._transport.unary(_calls.get_model(name, version, self._timeout_s(timeout_s)))

    async def wait_until_ready(self, timeout_s: float | None = None, *, model: str | None = None) -> None:
        """Waits until the server answers and has a model that is ready; see `Client.wait_until_ready`."""
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
        """Closes the connection; calls of other tasks end with `RequestCancelled`. Closing again does nothing."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self.target!r})"

    def _timeout_s(self, timeout_s: float | None) -> float:
        return check_timeout(timeout_s, self._transport.config.timeout_s)
