"""Builds the messages of requests from arguments, and checks what a client can know before anything is sent."""

# N = samples

from __future__ import annotations

import math
import operator
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ganserve._arrays import latents_array, to_tensor
from ganserve._errors import InvalidRequest
from ganserve._labels import LabelFields, label_fields
from ganserve.v1 import gan_service_pb2, tensor_pb2

if TYPE_CHECKING:
    import numpy.typing as npt

    from ganserve._types import Labels

MAX_INDEX = 2**48  # offset + n, by the protocol


def sample_request(
    n: int,
    label: Labels | None,
    *,
    model: str | None,
    version: int | None,
    seed: int | None,
    offset: int,
    truncation: float | None,
    latents: npt.ArrayLike | None,
    controls: Mapping[str, float] | None,
    return_scores: bool,
    return_latents: bool,
) -> gan_service_pb2.SampleRequest:
    """The message for samples; the arguments are those of `Client.sample`.

    A request without a seed gets one here, so that each attempt of it, should the first one fail, is the same request.

    Raises:
        InvalidRequest: An argument is wrong.
    """
    count = check_integer("n", n, 1, MAX_INDEX)
    labels = label_fields(label, count)
    request = gan_service_pb2.SampleRequest(
        model=_model(model),
        version=_version(version),
        count=count,
        label_indices=labels.indices,
        label_names=labels.names,
        return_latents=check_flag("return_latents", return_latents),
        return_scores=check_flag("return_scores", return_scores),
    )
    if latents is not None:
        for name, given in (
            ("seed", seed is not None),
            ("offset", offset != 0),
            ("truncation", truncation is not None),
            ("controls", bool(controls)),
        ):
            if given:
                raise InvalidRequest.of(
                    name, "is given beside latents, which leave nothing to draw; expected one of the two"
                )
        request.latents.CopyFrom(to_tensor(latents_array(latents, count)))
        return request
    request.seed = secrets.randbits(64) if seed is None else check_integer("seed", seed, 0, 2**64 - 1)
    request.offset = check_integer("offset", offset, 0, MAX_INDEX)
    if request.offset + count > MAX_INDEX:
        raise InvalidRequest.of("offset", f"is {offset}; expected offset + n of at most 2^48 (n is {count})")
    if truncation is not None:
        request.truncation = _truncation(truncation)
    if controls is not None:
        request.controls.update(_controls(controls))
    return request


def stream_request(
    request: gan_service_pb2.SampleRequest, chunk_size: int | None
) -> gan_service_pb2.StreamSamplesRequest:
    """The message for a stream of samples."""
    chunk = 0 if chunk_size is None else check_integer("chunk_size", chunk_size, 1, 2**32 - 1)
    return gan_service_pb2.StreamSamplesRequest(request=request, chunk_size=chunk)


def score_request(
    samples: npt.NDArray[Any], labels: LabelFields, *, model: str | None, version: int | None
) -> gan_service_pb2.ScoreRequest:
    """The message for scores of uint8 [N, H, W, C] or float32 [N, D]."""
    return gan_service_pb2.ScoreRequest(
        model=_model(model),
        version=_version(version),
        samples=tensor_pb2.Samples(tensor=to_tensor(samples)),
        label_indices=labels.indices,
        label_names=labels.names,
    )


def get_model_request(name: str | None, version: int | None) -> gan_service_pb2.GetModelRequest:
    """The message for a model's description."""
    return gan_service_pb2.GetModelRequest(model=_model(name, "name"), version=_version(version))


def check_integer(argument: str, value: Any, low: int, high: int) -> int:
    """An int between `low` and `high`, both included; NumPy's integers count, bools and floats don't.

    Raises:
        InvalidRequest: It is none.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise InvalidRequest.of(argument, f"is {value!r}; expected an int")
    number = operator.index(value)
    if number < low:
        raise InvalidRequest.of(argument, f"is {number}; expected at least {low}")
    if number > high:
        raise InvalidRequest.of(argument, f"is {number}; expected at most {high}")
    return number


def check_flag(argument: str, value: Any) -> bool:
    """A bool.

    Raises:
        InvalidRequest: It is none.
    """
    if not isinstance(value, bool | np.bool_):
        raise InvalidRequest.of(argument, f"is {value!r}; expected a bool")
    return bool(value)


def _model(model: str | None, argument: str = "model") -> str:
    if model is None:
        return ""
    if not isinstance(model, str) or not model:
        raise InvalidRequest.of(argument, f"is {model!r}; expected a model's name, or None for the only one")
    return model


def _version(version: int | None) -> int:
    return 0 if version is None else check_integer("version", version, 1, 2**32 - 1)


def _truncation(truncation: float) -> float:
    if not _is_finite(truncation) or truncation <= 0:
        raise InvalidRequest.of("truncation", f"is {truncation!r}; expected a finite number above 0")
    return float(truncation)


def _controls(controls: Mapping[str, float]) -> dict[str, float]:
    if not isinstance(controls, Mapping):
        raise InvalidRequest.of("controls", f'is {controls!r}; expected values by name, such as {{"c0": 0.5}}')
    for name, value in controls.items():
        if not isinstance(name, str) or not name:
            raise InvalidRequest.of("controls", f"has the name {name!r}; expected the name of a control of the model")
        if not _is_finite(value):
            raise InvalidRequest.of("controls", f"has {name} = {value!r}; expected a finite number")
    return {name: float(value) for name, value in controls.items()}


def _is_finite(value: Any) -> bool:
    """Whether it is a finite number; NumPy's count, bools don't."""
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return number and math.isfinite(value)
