"""The asyncio client: draw samples, besides what its bases do.

`scripts/generate_sync_client.py` makes `_client.py` of this file.
"""

# N = samples, H = height, W = width, C = channels, D = values of a vector, Z = latent

from __future__ import annotations

from typing import TYPE_CHECKING

from ganserve._async_scorer import AsyncScorer
from ganserve._async_verifier import AsyncVerifier
from ganserve._calls import unary_calls
from ganserve._calls.async_streams import AsyncSampleStream
from ganserve._calls.interpolation import Interpolation
from ganserve._calls.requests import sample_request, stream_request
from ganserve._calls.stream_calls import SampleStreamCall

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from ganserve._results.batch import SampleBatch
    from ganserve._results.sample import Sample
    from ganserve._results.selection import Selection
    from ganserve._types import Encoding, Labels, Noise, Priority


class AsyncClient(AsyncScorer, AsyncVerifier):
    """An asyncio client of a ganserve server; its methods are those of `Client`.

        async with AsyncClient("localhost:50051") as client:
            batch = await client.sample(16, label="7", seed=42)

    The first call connects and binds the client to its event loop. Cancelling a task cancels its call.

    If the server is unreachable, draining, starting, or full and says when to retry, the client repeats the same
    request within the deadline, after pauses that grow and vary at random; streams continue where they stopped. It logs
    retries to the logger "ganserve" at the level INFO. A server that fails or does not answer in time rests for 1 to
    30 s; it gets calls again once grpc.health.v1 says that it works.

    Args:
        target: The server: "host:port", "host" (port 50051), or a gRPC target with a scheme
            ("unix:/run/ganserve.sock"). Several, as a sequence or joined by commas, take turns and replace each other.
            A name with several addresses is several servers, too; it is looked up again every 30 s, and soon after a
            failure. Default: the environment variable GANSERVE_TARGET, else "localhost:50051".
        model: The model of calls that name none. Name it in programs that last: a server with several models refuses
            calls without. Default: the environment variable GANSERVE_MODEL, else the server's only model.
        timeout_s: Default deadline of each call in seconds; math.inf waits for ever, and less than 1 ms is 1 ms. With
            several servers, an attempt gets a share of it, so that another can follow: a third at the first of three.
        max_attempts: Most attempts of one call at all servers together; 1 never retries. A server without a connection
            costs none while another one is left. Default: 5, or one more than there are connections.
        connections: Connections to each address, which take turns. A server of several processes (`--processes`) shares
            out connections, so that one of them reaches only one process: give a few for each process.
        compression: Compresses what is sent. To receive less, use an `encoding`.
        metadata: Sent with every call, by name, such as {"x-team": "shop"}.
        tls: Encrypts the calls: True trusts the public authorities, `TLS(ca="ca.pem")` those of a file. Default: the
            environment variables GANSERVE_TLS (1 or 0), GANSERVE_TLS_CA, GANSERVE_TLS_CLIENT_CERTIFICATE,
            GANSERVE_TLS_CLIENT_KEY and GANSERVE_TLS_SERVER_NAME; without them, calls are not encrypted.
        token: Shows the server who calls: a token, or a function that returns a fresh one for each attempt; it may be a
            coroutine function. Default: the environment variable GANSERVE_TOKEN, else none.
        token_over_plain_text: Send the token, and metadata such as `authorization` or `x-api-key`, without encryption
            to another machine, too: whoever is on the way can read and use them.
        interceptors: GRPC's asyncio interceptors, the first one outermost.

    Raises:
        InvalidRequest: An argument is wrong.
        GanserveError: This process was forked while its parent used gRPC, which can crash or hang in it.
    """

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
        truncation_layers: int | None = None,
        mix_seed: int | None = None,
        mix_from: int | None = None,
        noise: Noise | None = None,
        latents: npt.ArrayLike | None = None,
        w: npt.ArrayLike | None = None,
        controls: Mapping[str, float] | None = None,
        select: Selection | None = None,
        encoding: Encoding = "raw",
        priority: Priority = "normal",
        return_scores: bool = False,
        return_latents: bool = False,
        return_w: bool = False,
        timeout_s: float | None = None,
    ) -> SampleBatch:
        """Draw samples.

        Sample i of (model version, seed, label, truncation, controls, mixing, noise) is always the same in every call.

        Args:
            n: N, how many; at least 1. The server bounds an answer, by default to 64 MiB: use
                `stream` for more.
            label: A label's name or index for all samples, or a sequence of N names or N indices. Default: a
                conditional model draws each sample's label.
            model: The model's name. Default: the client's, else the server's only model.
            version: The model's version. Default: the latest that is ready.
            seed: Chooses the latents, 0 to 2^64 - 1. Default: a random one, which the batch contains.
            offset: Index of the first sample in the seed's sequence; offset + n is at most 2^48.
            truncation: Less varied, more typical samples. For a style-based generator (`ModelInfo.style`) it is psi: 0
                gives the mean, 1 is none. For others it restricts each latent value to [-truncation, truncation].
                Default: the style's own, else none.
            truncation_layers: Styles only, as the next three: the number of first layers that truncation acts on.
            mix_seed: Style mixing: sample i has the w's of sample i of this seed, from the layer `mix_from` on.
            mix_from: 1 to L - 1; the fewer layers before it, the less remains of a sample's own shape.
            noise: "seeded", own noise for each sample; "constant", the same for all; or "none". Default: the model's.
            latents: The latents themselves, float32 [N, Z], instead of seed, offset and controls.
            w: The w's themselves, float32 [N, L, W], for styles: such as `SampleBatch.w`. The seed draws the noise.
            controls: Values of the model's controls by name (`ModelInfo.controls`), for all samples: {"c0": 0.5}.
                Others are drawn; setting one changes no other value of a latent.
            select: Lets the critic choose among more samples than are returned: `BestOf(8)` keeps the best of each 8,
                `Rejection(max_proposals=64)` the first that it accepts. See `SampleBatch.selection`. Default: none.
            encoding: Format on the wire. "raw" and "png" give the same arrays, "png" in fewer bytes and more time
                ("png", "jpeg" and "webp" need the extra `images`); "jpeg" and "webp" lose a little; "float32" gives
                float32 images, 0 to 1.
            priority: The request's place in the server's queue: "high" if somebody waits, "low" for work in bulk.
            return_scores: Also return the critic's scores and probabilities of the samples.
            return_latents: Also return the latents.
            return_w: Also return the w's.
            timeout_s: Deadline in seconds, retries included; math.inf is none. Default: the client's.

        Returns:
            The samples: images uint8 [N, H, W, C] or vectors float32 [N, D].

        Raises:
            InvalidRequest: An argument is wrong.
            ModelNotFound: There is no such model or version.
            UnsupportedByModel: A label for an unconditional model, an unknown control, scores or a selection from a
                model without a critic, and similar problems.
            MissingExtra: The encoding needs Pillow, which is not installed.
            ServerUnavailable: The server cannot be reached.
            GanserveError: Any other failure; see the error's class.
        """
        request = sample_request(
            n,
            label,
            model=self._model_name(model),
            version=version,
            seed=seed,
            offset=offset,
            truncation=truncation,
            truncation_layers=truncation_layers,
            mix_seed=mix_seed,
            mix_from=mix_from,
            noise=noise,
            latents=latents,
            w=w,
            controls=controls,
            select=select,
            encoding=encoding,
            priority=priority,
            return_scores=return_scores,
            return_latents=return_latents,
            return_w=return_w,
        )
        timeout_s = self._timeout_s(timeout_s)
        info = None
        if unary_calls.needs_description(request):
            info = await self._transport.unary(unary_calls.describe_first(request, timeout_s))
        return await self._transport.unary(unary_calls.sample(request, timeout_s, info))

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
        truncation_layers: int | None = None,
        mix_seed: int | None = None,
        mix_from: int | None = None,
        noise: Noise | None = None,
        controls: Mapping[str, float] | None = None,
        select: Selection | None = None,
        encoding: Encoding = "raw",
        priority: Priority = "normal",
        return_scores: bool = False,
        return_latents: bool = False,
        return_w: bool = False,
        chunk_size: int | None = None,
        timeout_s: float | None = None,
    ) -> AsyncSampleStream:
        """Draw any number of samples and return them in batches as they arrive: those that `sample` would draw.

        The arguments are those of `sample` except `latents` and `w`, and two more:

        - `chunk_size`: most samples in one batch; by default the server chooses;
        - `timeout_s`: most seconds to wait for each batch, without the time that the caller takes between batches.

        The server draws only a little ahead. Leaving the loop early ends the call. When the connection breaks, the
        stream continues where it stopped, at the same version of the model. Before the first batch it gives up after
        the client's `max_attempts`, later when no batch came for `timeout_s`; the error says how to continue.

        Returns:
            An iterator of batches and a context manager. Iterate it, don't await it.

        Raises:
            InvalidRequest: An argument is wrong.
            MissingExtra: The encoding needs Pillow, which is not installed.
        """
        request = sample_request(
            n,
            label,
            model=self._model_name(model),
            version=version,
            seed=seed,
            offset=offset,
            truncation=truncation,
            truncation_layers=truncation_layers,
            mix_seed=mix_seed,
            mix_from=mix_from,
            noise=noise,
            controls=controls,
            select=select,
            encoding=encoding,
            priority=priority,
            return_scores=return_scores,
            return_latents=return_latents,
            return_w=return_w,
        )
        call = SampleStreamCall(stream_request(request, chunk_size), self._timeout_s(timeout_s))
        return AsyncSampleStream(self._transport, call)

    async def interpolate(
        self,
        a: int | npt.ArrayLike | Sample,
        b: int | npt.ArrayLike | Sample,
        steps: int,
        label: Labels | None = None,
        *,
        model: str | None = None,
        version: int | None = None,
        truncation: float | None = None,
        truncation_layers: int | None = None,
        noise: Noise | None = None,
        encoding: Encoding = "raw",
        priority: Priority = "normal",
        return_scores: bool = False,
        timeout_s: float | None = None,
    ) -> SampleBatch:
        """Draw samples on the way from one latent to another; the ends are exact to the last bit.

        The way between normal latents is spherical (White 2016, "Sampling Generative Networks"), so that latents on it
        are as long as those of the training; uniform latents and controls are interpolated linearly. In W, which
        style-based generators have, it is straight, with the noise of a.

        Args:
            a: The start: a seed, which stands for its sample 0; a latent, float32 [Z]; w's, float32 [L, W]; or a sample
                with one of these.
            b: The end, likewise.
            steps: N, how many samples; at least 2.
            label: As for `sample`. Default: that of a's sample, else of b's; in W, of the nearer. Two arrays have none.
            model: As for `sample`.
            version: As for `sample`.
            truncation: As for `sample`; not for ends that are w's, or latents unless they become w's.
            truncation_layers: As for `sample`.
            noise: As for `sample`.
            encoding: As for `sample`.
            priority: As for `sample`.
            return_scores: As for `sample`.
            timeout_s: Deadline of each request in seconds, retries included; math.inf is none. Default: the client's.
                There is one for the model, one for each end that is not drawn, and one for the samples.

        Returns:
            The samples in order, with their latents; in W, with their w's and the latent of their noise.

        Raises:
            InvalidRequest: An argument is wrong, or a latent has another size than the model's.
            GanserveError: Any other failure, as for `sample`.
        """
        way = Interpolation(
            a,
            b,
            steps,
            label,
            truncation=truncation,
            truncation_layers=truncation_layers,
            noise=noise,
            encoding=encoding,
            priority=priority,
            return_scores=return_scores,
            timeout_s=self._timeout_s(timeout_s),
        )
        info = await self.model(model, version, timeout_s=timeout_s)
        drawn = [await self._transport.unary(call) for call in way.calls(info)]
        return await self._transport.unary(way.call(info, drawn))
