"""Interpolate between latents: the requests of `Client.interpolate`, and the latents on the way."""

# N = steps, Z = latent

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ganserve._argument_checks import check_integer
from ganserve._calls import unary_calls
from ganserve._calls.arrays import as_array, latents_array
from ganserve._calls.requests import sample_request
from ganserve._errors import InvalidRequest, ServerError
from ganserve._results.batch import SampleBatch
from ganserve._results.models import ModelInfo
from ganserve._types import Encoding, Labels, Priority
from ganserve.v1 import gan_service_pb2

MOST_STEPS = 2**20


class Interpolation:
    """The calls of `Client.interpolate`: one for each end that is a seed, then one for the samples on the way."""

    def __init__(
        self,
        a: int | npt.ArrayLike,
        b: int | npt.ArrayLike,
        steps: int,
        label: Labels | None,
        *,
        truncation: float | None,
        encoding: Encoding,
        priority: Priority,
        return_scores: bool,
        timeout_s: float,
    ) -> None:
        """Check the arguments as far as is possible without the model."""
        self._ends = _end(a, "a"), _end(b, "b")
        self._steps = check_integer("steps", steps, 2, MOST_STEPS)
        self._label = label
        self._truncation = truncation
        self._options: dict[str, Any] = {
            "encoding": encoding,
            "priority": priority,
            "return_scores": return_scores,
        }
        self._timeout_s = timeout_s
        self._request(np.zeros((self._steps, 1), np.float32), label)
        if truncation is not None:
            if not any(isinstance(end, int) for end in self._ends):
                raise InvalidRequest.of("truncation", "cannot be combined with two latents: leave it out")
            self._seed_request(0)

    def calls(self, info: ModelInfo) -> list[unary_calls.Call[SampleBatch]]:
        """Return the calls that draw the ends that are seeds."""
        for name, end in zip("ab", self._ends, strict=True):
            if not isinstance(end, int) and len(end) != info.latent_dim:
                raise InvalidRequest.of(
                    name, f"has {len(end)} values; expected {info.latent_dim}, the latent of model {info.name!r}"
                )
        requests = [self._seed_request(end) for end in self._ends if isinstance(end, int)]
        return [unary_calls.sample(request, self._timeout_s, info) for request in requests]

    def call(self, info: ModelInfo, drawn: Sequence[SampleBatch]) -> unary_calls.Call[SampleBatch]:
        """Return the call for the samples on the way, once the ends are drawn."""
        batches = iter(drawn)
        label = self._label
        ends = []
        for end in self._ends:
            if not isinstance(end, int):
                ends.append(end)
                continue
            batch = next(batches)
            if batch.latents is None:
                raise ServerError("the answer has no latents, although the request asked for them")
            if label is None and batch.labels is not None:
                label = int(batch.labels[0])
            ends.append(batch.latents[0])
        controls = [control.index for control in info.controls]
        way = latents_between(ends[0], ends[1], self._steps, info.latent_distribution == "normal", controls)
        return unary_calls.sample(self._request(way, label), self._timeout_s, info)

    def _seed_request(self, seed: int) -> gan_service_pb2.SampleRequest:
        priority = self._options["priority"]
        return sample_request(1, seed=seed, truncation=self._truncation, priority=priority, return_latents=True)

    def _request(self, latents: npt.NDArray[np.float32], label: Labels | None) -> gan_service_pb2.SampleRequest:
        return sample_request(self._steps, label, latents=latents, return_latents=True, **self._options)


def latents_between(
    a: npt.NDArray[np.float32],
    b: npt.NDArray[np.float32],
    steps: int,
    spherical: bool,
    linear_indices: Sequence[int] = (),
) -> npt.NDArray[np.float32]:
    """Return latents on the way from `a` to `b`, float32 [Z], as float32 [N, Z]; the ends are exact to the last bit.

    `spherical` follows a great circle (White 2016, "Sampling Generative Networks"): a straight line between normal
    latents passes through latents shorter than any in the training. The `linear_indices` are interpolated linearly.
    """
    t = np.linspace(0.0, 1.0, steps)[:, None]
    start, end = a.astype(np.float64), b.astype(np.float64)
    way = (1 - t) * start + t * end
    if spherical:
        round_about = np.setdiff1d(np.arange(len(a)), linear_indices)
        way[:, round_about] = _great_circle(start[round_about], end[round_about], t)
    result = way.astype(np.float32)
    result[0], result[-1] = a, b
    return result


def _great_circle(a: npt.NDArray[Any], b: npt.NDArray[Any], t: npt.NDArray[Any]) -> npt.NDArray[Any]:
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    if min(lengths) == 0 or len(a) < 2:  # no direction, or only one
        straight: npt.NDArray[Any] = (1 - t) * a + t * b
        return straight
    from_direction, to_direction = a / lengths[0], b / lengths[1]
    across = to_direction - (from_direction @ to_direction) * from_direction
    if np.linalg.norm(across) < 1e-9:  # the same or the opposite direction: any great circle will do
        across = np.eye(len(a))[np.argmin(np.abs(from_direction))]
        across -= (from_direction @ across) * from_direction
    across /= np.linalg.norm(across)
    angle = np.arctan2(to_direction @ across, to_direction @ from_direction)
    radius = (1 - t) * lengths[0] + t * lengths[1]
    way: npt.NDArray[Any] = radius * (np.cos(t * angle) * from_direction + np.sin(t * angle) * across)
    return way


def _end(value: Any, argument: str) -> int | npt.NDArray[np.float32]:
    if isinstance(value, int | np.integer):
        return check_integer(argument, value, 0, 2**64 - 1)
    try:
        shape = np.shape(value)
        if len(shape) != 1:
            raise InvalidRequest.of(
                argument, f"has the shape {list(shape)}; expected a seed, or one latent [latent_dim]"
            )
        latent: npt.NDArray[np.float32] = latents_array(as_array(value)[None], 1)[0]
        return latent
    except ValueError as error:
        raise InvalidRequest.of(
            argument, f"is not an array; expected a seed, or one latent [latent_dim] ({error})"
        ) from error
    except InvalidRequest as error:
        raise InvalidRequest.of(argument, error.violations[0].description) from None
