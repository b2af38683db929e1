"""Turn arguments into the messages of requests, and check them as far as a client can."""

# N = samples

import secrets
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from ganserve._argument_checks import (
    MAX_INDEX,
    SEED_BITS,
    check_choice,
    check_flag,
    check_integer,
    check_model,
    check_text,
    is_finite,
)
from ganserve._calls.arrays import latents_array, to_tensor, w_array
from ganserve._calls.labels import LabelFields, label_fields
from ganserve._errors import InvalidRequest
from ganserve._results.pictures import import_pillow
from ganserve._results.selection import BestOf, Rejection, Selection, proposals_per_sample
from ganserve._types import Encoding, Labels, Noise, Priority
from ganserve.v1 import gan_service_pb2, model_spec_pb2, tensor_pb2

_ENCODINGS: dict[str, tensor_pb2.Encoding.ValueType] = {
    "raw": tensor_pb2.ENCODING_UNSPECIFIED,
    "png": tensor_pb2.ENCODING_PNG,
    "jpeg": tensor_pb2.ENCODING_JPEG,
    "webp": tensor_pb2.ENCODING_WEBP,
    "float32": tensor_pb2.ENCODING_FLOAT32,
}
_PRIORITIES: dict[str, gan_service_pb2.Priority.ValueType] = {
    "high": gan_service_pb2.PRIORITY_HIGH,
    "normal": gan_service_pb2.PRIORITY_UNSPECIFIED,
    "low": gan_service_pb2.PRIORITY_LOW,
}
_NOISES: dict[str, model_spec_pb2.NoiseMode.ValueType] = {
    "seeded": model_spec_pb2.NOISE_MODE_SEEDED,
    "constant": model_spec_pb2.NOISE_MODE_CONSTANT,
    "none": model_spec_pb2.NOISE_MODE_NONE,
}


def sample_request(
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
) -> gan_service_pb2.SampleRequest:
    """Return the request for samples; the arguments are those of `Client.sample`.

    It draws a seed if none is given, so that all attempts are the same request.
    """
    count = check_integer("n", n, 1, MAX_INDEX)
    # Skip defaults: in a busy application each step costs microseconds.
    request = gan_service_pb2.SampleRequest(count=count)
    if model is not None:
        request.model = check_model("model", model)
    if version is not None:
        request.version = _version(version)
    if label is not None:
        labels = label_fields(label, count)
        request.label_indices.extend(labels.indices)
        request.label_names.extend(labels.names)
    if encoding != "raw":
        request.encoding = _encoding(encoding)
        # The files only travel: pictures that the SDK writes get their marks then.
        request.unmarked = True
    if priority != "normal":
        request.priority = _priority(priority)
    if return_scores is not False:
        request.return_scores = check_flag("return_scores", return_scores)
    if return_latents is not False:
        request.return_latents = check_flag("return_latents", return_latents)
    if return_w is not False:
        request.return_w = check_flag("return_w", return_w)
    if w is not None:
        styled = {"truncation": truncation, "truncation_layers": truncation_layers, "mix_seed": mix_seed}
        _refuse_beside("w", **styled, mix_from=mix_from, controls=controls or None, select=select)
        request.w.CopyFrom(to_tensor(w_array(w, count)))
    if truncation is not None:
        request.truncation = _truncation(truncation)
    if truncation_layers is not None:
        request.truncation_layers = check_integer("truncation_layers", truncation_layers, 1, 2**32 - 1)
    if mix_seed is not None or mix_from is not None:
        _set_mix(request, mix_seed, mix_from)
    if noise is not None:
        check_choice("noise", noise, _NOISES)
        request.noise = _NOISES[noise]
    if latents is not None:
        _refuse_beside("latents", seed=seed, offset=offset or None, controls=controls or None, select=select)
        request.latents.CopyFrom(to_tensor(latents_array(latents, count)))
        return request
    request.seed = secrets.randbits(SEED_BITS) if seed is None else check_integer("seed", seed, 0, 2**64 - 1)
    if offset != 0 or isinstance(offset, bool | float):
        request.offset = check_integer("offset", offset, 0, MAX_INDEX)
        if request.offset + count > MAX_INDEX:
            raise InvalidRequest.of("offset", f"is {offset}; expected offset + n of at most 2^48 (n is {count})")
    if controls is not None:
        request.controls.update(_controls(controls))
    if select is not None:
        _set_selection(request, select)
    return request


def _refuse_beside(given: str, **others: Any) -> None:
    """Refuse arguments that have a value beside given latents or w's."""
    for name, value in others.items():
        if value is not None:
            raise InvalidRequest.of(name, f"cannot be combined with {given}: give one of the two")


def _set_mix(request: gan_service_pb2.SampleRequest, seed: int | None, first: int | None) -> None:
    for name, other, value in (("mix_from", "mix_seed", first), ("mix_seed", "mix_from", seed)):
        if value is None:
            raise InvalidRequest.of(name, f"is missing; style mixing takes both {name} and {other}")
    request.mix.seed = check_integer("mix_seed", seed, 0, 2**64 - 1)
    request.mix.from_layer = check_integer("mix_from", first, 1, 2**32 - 1)


def stream_request(
    request: gan_service_pb2.SampleRequest, chunk_size: int | None
) -> gan_service_pb2.StreamSamplesRequest:
    """Return the request for a stream of samples."""
    chunk = 0 if chunk_size is None else check_integer("chunk_size", chunk_size, 1, 2**32 - 1)
    return gan_service_pb2.StreamSamplesRequest(request=request, chunk_size=chunk)


def score_request(
    samples: npt.NDArray[Any],
    labels: LabelFields,
    *,
    model: str | None,
    version: int | None,
    priority: Priority,
) -> gan_service_pb2.ScoreRequest:
    """Return the request for scores of uint8 [N, H, W, C] or float32 [N, D]."""
    return gan_service_pb2.ScoreRequest(
        model=_model(model),
        version=_version(version),
        samples=tensor_pb2.Samples(tensor=to_tensor(samples)),
        label_indices=labels.indices,
        label_names=labels.names,
        priority=_priority(priority),
    )


def get_model_request(name: str | None, version: int | None) -> gan_service_pb2.GetModelRequest:
    """Return the request for a model's description."""
    return gan_service_pb2.GetModelRequest(model=_model(name, "name"), version=_version(version))


def _model(model: str | None, argument: str = "model") -> str:
    return "" if model is None else check_model(argument, model)


def _version(version: int | None) -> int:
    return 0 if version is None else check_integer("version", version, 1, 2**32 - 1)


def _truncation(truncation: float) -> float:
    if not is_finite(truncation) or truncation < 0:  # 0 is psi of a mapping; the server refuses it for latents
        raise InvalidRequest.of("truncation", f"is {truncation!r}; expected a finite number of at least 0")
    return float(truncation)


def _controls(controls: Mapping[str, float]) -> dict[str, float]:
    if not isinstance(controls, Mapping):
        raise InvalidRequest.of("controls", f'is {controls!r}; expected values by name, such as {{"c0": 0.5}}')
    for name, value in controls.items():
        if not isinstance(name, str) or not name:
            raise InvalidRequest.of("controls", f"has the name {name!r}; expected the name of a control of the model")
        check_text("controls", name)
        if not is_finite(value):
            raise InvalidRequest.of("controls", f"has {name} = {value!r}; expected a finite number")
    return {name: float(value) for name, value in controls.items()}


def _encoding(encoding: Encoding) -> tensor_pb2.Encoding.ValueType:
    check_choice("encoding", encoding, _ENCODINGS)
    if encoding in ("png", "jpeg", "webp"):
        import_pillow(f"encoding={encoding!r}")
    return _ENCODINGS[encoding]


def _priority(priority: Priority) -> gan_service_pb2.Priority.ValueType:
    check_choice("priority", priority, _PRIORITIES)
    return _PRIORITIES[priority]


def _set_selection(request: gan_service_pb2.SampleRequest, select: Selection) -> None:
    if not isinstance(select, BestOf | Rejection):
        raise InvalidRequest.of("select", f"is {select!r}; expected BestOf(8), Rejection(max_proposals=64) or None")
    most = proposals_per_sample(select)
    if (request.offset + request.count) * most > MAX_INDEX:
        raise InvalidRequest.of(
            "offset", f"is {request.offset}; expected (offset + n) * {most} proposals of at most 2^48: use another seed"
        )
    request.selection.max_proposals_per_sample = most
    request.selection.method = (
        gan_service_pb2.SELECTION_METHOD_BEST_OF_N
        if isinstance(select, BestOf)
        else gan_service_pb2.SELECTION_METHOD_REJECTION
    )
