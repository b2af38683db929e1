"""Interpolate between samples: the requests of `Client.interpolate`, and the latents or w's on the way."""

# N = steps, Z = latent, L = layers, W = values of one w

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ganserve._argument_checks import check_integer
from ganserve._calls import unary_calls
from ganserve._calls.arrays import as_array, latents_array, w_array
from ganserve._calls.requests import sample_request
from ganserve._errors import InvalidRequest, ServerError
from ganserve._results.batch import SampleBatch
from ganserve._results.sample import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from ganserve._results.models import ModelInfo
    from ganserve._types import Encoding, Labels, Noise, Priority
    from ganserve.v1 import gan_service_pb2

MOST_STEPS = 2**20


@dataclass(slots=True)
class _End:
    """An end of the way: a seed, a latent or w's; once it is drawn, what the way takes of it."""

    name: str
    seed: int | None = None
    latent: npt.NDArray[np.float32] | None = None
    """[Z]."""
    w: npt.NDArray[np.float32] | None = None
    """[L, W]."""
    label: int | None = None

    def needs_draw(self, *, in_w: bool) -> bool:
        """Return True if a request has to find the latent, or the w's, of this end."""
        return self.w is None if in_w else self.latent is None

    def check(self, info: ModelInfo, *, in_w: bool) -> None:
        """Refuse an end that is none of the model's."""
        if self.w is not None and self.latent is None and not in_w:
            raise InvalidRequest.of(self.name, f"is an array of w's, which model {info.name!r} has not; give a latent")
        if self.latent is not None and len(self.latent) != info.latent_dim:
            raise InvalidRequest.of(
                self.name,
                f"has {len(self.latent)} values; expected {info.latent_dim}, the latent of model {info.name!r}",
            )
        if self.w is not None and in_w and info.style is not None:
            shape = [info.style.layers, info.style.w_dimension]
            if list(self.w.shape) != shape:
                found = f"has the shape {list(self.w.shape)}; expected {shape}, the w's of model {info.name!r}"
                raise InvalidRequest.of(self.name, found)


class Interpolation:
    """The calls of `Client.interpolate`: one for each end that is to be drawn, then one for the samples on the way."""

    def __init__(
        self,
        a: int | npt.ArrayLike | Sample,
        b: int | npt.ArrayLike | Sample,
        steps: int,
        label: Labels | None,
        *,
        truncation: float | None,
        truncation_layers: int | None,
        noise: Noise | None,
        encoding: Encoding,
        priority: Priority,
        return_scores: bool,
        timeout_s: float,
    ) -> None:
        """Check the arguments as far as is possible without the model."""
        self._ends = _end(a, "a"), _end(b, "b")
        self._steps = check_integer("steps", steps, 2, MOST_STEPS)
        self._label = label
        self._truncation: dict[str, Any] = {"truncation": truncation, "truncation_layers": truncation_layers}
        self._noise = noise
        self._options: dict[str, Any] = {
            "encoding": encoding,
            "priority": priority,
            "return_scores": return_scores,
        }
        self._timeout_s = timeout_s
        nothing = np.zeros((self._steps, 1), np.float32)
        sample_request(self._steps, label, latents=nothing, noise=noise, **self._truncation, **self._options)

    def calls(self, info: ModelInfo) -> list[unary_calls.Call[SampleBatch]]:
        """Return the calls that draw ends."""
        in_w = _walks_in_w(info)
        for end in self._ends:
            end.check(info, in_w=in_w)
        drawn = [end for end in self._ends if end.needs_draw(in_w=in_w)]
        if not in_w:
            # Without a mapping, truncation acts on the draw of a latent.
            if info.style is None and self._truncation["truncation"] is not None and not drawn:
                raise InvalidRequest.of("truncation", "cannot be combined with two latents: leave it out")
        elif any(value is not None for value in self._truncation.values()) and not drawn:
            raise InvalidRequest.of("truncation", "cannot be combined with two samples' w's: leave it out")
        requests = [self._end_request(end, in_w=in_w) for end in drawn]
        return [unary_calls.sample(request, self._timeout_s, info) for request in requests]

    def call(self, info: ModelInfo, drawn: Sequence[SampleBatch]) -> unary_calls.Call[SampleBatch]:
        """Return the call for the samples on the way, once the ends are drawn."""
        in_w = _walks_in_w(info)
        batches = iter(drawn)
        for end in self._ends:
            if end.needs_draw(in_w=in_w):
                _read_end(end, next(batches), in_w=in_w)
        return unary_calls.sample(self._way_in_w(info) if in_w else self._way(info), self._timeout_s, info)

    def _way(self, info: ModelInfo) -> gan_service_pb2.SampleRequest:
        """Return the request for samples of latents on the way."""
        a, b = self._ends
        assert a.latent is not None
        assert b.latent is not None
        label = self._label
        if label is None:
            label = b.label if a.label is None else a.label
        controls = [control.index for control in info.controls]
        way = latents_between(a.latent, b.latent, self._steps, info.latent_distribution == "normal", controls)
        styled = {} if info.style is None else self._truncation
        return self._request(label, latents=way, return_latents=True, noise=self._noise, **styled)

    def _way_in_w(self, info: ModelInfo) -> gan_service_pb2.SampleRequest:
        """Return the request for samples of w's on the way, a straight line, with the noise of one latent."""
        a, b = self._ends
        assert a.w is not None
        assert b.w is not None
        t = np.linspace(0.0, 1.0, self._steps)[:, None, None]
        way = ((1 - t) * a.w.astype(np.float64) + t * b.w.astype(np.float64)).astype(np.float32)
        way[0], way[-1] = a.w, b.w
        latent = next(
            (end.latent for end in self._ends if end.latent is not None), np.zeros(info.latent_dim, np.float32)
        )
        label, labels = self._label, [end.label for end in self._ends if end.label is not None]
        if label is None and labels:
            # The samples look like the label of the nearer end.
            label = [labels[0] if 2 * step < self._steps else labels[-1] for step in range(self._steps)]
        latents = np.tile(latent, (self._steps, 1))
        return self._request(label, w=way, latents=latents, return_latents=True, return_w=True, noise=self._noise)

    def _end_request(self, end: _End, *, in_w: bool) -> gan_service_pb2.SampleRequest:
        """Return the request for one end."""
        priority, options = self._options["priority"], dict(self._truncation)
        if not in_w:
            return sample_request(1, seed=end.seed, priority=priority, return_latents=True, **options)
        label = self._label
        if label is not None and not isinstance(label, str | int | np.integer):  # one for each step
            label = list(label)[0 if end.name == "a" else -1]
        if label is None:
            label = end.label
        given = {"seed": end.seed} if end.latent is None else {"latents": end.latent[None]}
        return sample_request(1, label, priority=priority, return_latents=True, return_w=True, **given, **options)

    def _request(self, label: Labels | None, **given: Any) -> gan_service_pb2.SampleRequest:
        return sample_request(self._steps, label, **given, **self._options)


def _walks_in_w(info: ModelInfo) -> bool:
    """Return True if a walk passes through w's: those on a straight line look alike, unlike latents."""
    return info.style is not None and info.style.w_dimension > 0


def _read_end(end: _End, batch: SampleBatch, *, in_w: bool) -> None:
    """Set the latent, the label and the w's of an end that was drawn."""
    if batch.latents is None or (in_w and batch.w is None):
        raise ServerError("the answer has no latents or w's, although the request asked for them")
    end.latent = batch.latents[0]
    end.w = None if batch.w is None else batch.w[0]
    if batch.labels is not None:
        end.label = int(batch.labels[0])


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


def _end(value: Any, name: str) -> _End:
    if isinstance(value, int | np.integer):
        return _End(name, seed=check_integer(name, value, 0, 2**64 - 1))
    if isinstance(value, Sample):
        if value.latent is None and value.w is None:
            raise InvalidRequest.of(name, "is a sample without its latent; draw it with return_latents or return_w")
        return _End(name, latent=value.latent, w=value.w, label=value.label)
    try:
        axes = np.ndim(value)
        if axes not in {1, 2}:
            found = f"has the shape {list(np.shape(value))}"
            raise InvalidRequest.of(name, f"{found}; expected a seed, or one latent [latent_dim], or w's")
        if axes == 2:
            return _End(name, w=w_array(as_array(value)[None], 1)[0])
        return _End(name, latent=latents_array(as_array(value)[None], 1)[0])
    except ValueError as error:
        raise InvalidRequest.of(
            name, f"is not an array; expected a seed, or one latent [latent_dim] ({error})"
        ) from error
    except InvalidRequest as error:
        raise InvalidRequest.of(name, error.violations[0].description) from None
