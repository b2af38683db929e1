"""Build the answers to Sample and Score. N = samples, Z = values of one latent.

Small answers are messages. Large ones are written as they travel, so that samples are copied once.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ganserve.v1 import gan_service_pb2, tensor_pb2
from ganserve_server.models.manifest_checks import ModelInfo
from ganserve_server.models.model import GeneratorWork, Labels, Model
from ganserve_server.pictures.encoding import as_float32
from ganserve_server.requests.sample_plan import SamplePlan
from ganserve_server.requests.wire import Part, field, varint
from ganserve_server.sampling.drawing import Drawn, Scored

_ONE_BYTE_NUMBERS = 128  # smaller ones take one byte on the wire


def set_sample_response(
    response: gan_service_pb2.SampleResponse,
    model: Model,
    plan: SamplePlan,
    work: GeneratorWork,
    drawn: Drawn,
    files: Sequence[bytes] | None,
) -> None:
    """Fill an empty answer to a plan, or to the part of it in `work`.

    `files` are the encoded samples; None if they travel as a tensor.
    """
    info = model.info
    response.model, response.version, response.package_sha256 = info.name, info.version, model.digest
    response.seed, response.offset = work.seed, work.offset
    if files is not None:
        response.samples.images.encoding = plan.encoding
        response.samples.images.files.extend(files)
    elif plan.encoding == tensor_pb2.ENCODING_FLOAT32:
        _set_tensor(response.samples.tensor, info.sample_shape, [as_float32(part) for part in drawn.samples])
    else:
        _set_tensor(response.samples.tensor, info.sample_shape, drawn.samples)
    if plan.return_latents:
        _set_tensor(response.latents, (info.latent_dimension,), drawn.latents)
    if drawn.w is not None:
        _set_tensor(response.w, drawn.w[0].shape[1:], drawn.w)
    if info.label_names:
        _set_labels(response, info, work.labels, drawn)
    if plan.return_scores:
        set_scores(response, drawn.scores, drawn.probabilities)
    if plan.selection is not None:
        response.selection.proposed, response.selection.accepted = drawn.proposed, drawn.accepted


def serialised_answer(
    model: Model, plan: SamplePlan, work: GeneratorWork, drawn: Drawn, files: Sequence[bytes] | None, *, chunk: bool
) -> bytes:
    """Return the serialised answer that `set_sample_response` would fill; with `chunk`, a StreamSamplesResponse."""
    fields, info = gan_service_pb2.SampleResponse.DESCRIPTOR.fields_by_name, model.info
    response = gan_service_pb2.SampleResponse(
        model=info.name,
        version=info.version,
        package_sha256=model.digest,
        seed=work.seed,
        offset=work.offset,
    )
    if plan.selection is not None:
        response.selection.proposed, response.selection.accepted = drawn.proposed, drawn.accepted
    parts: list[Part] = [response.SerializeToString()]

    def add(name: str, content: Sequence[Part]) -> None:
        parts.extend(field(fields[name].number, content))

    if files is not None:
        add("samples", _images(plan.encoding, files))
    else:
        samples = drawn.samples
        if plan.encoding == tensor_pb2.ENCODING_FLOAT32:
            samples = [as_float32(part) for part in samples]
        add("samples", field(tensor_pb2.Samples.TENSOR_FIELD_NUMBER, _tensor(info.sample_shape, samples)))
    if plan.return_latents:
        add("latents", _tensor((info.latent_dimension,), drawn.latents))
    if drawn.w is not None:
        add("w", _tensor(drawn.w[0].shape[1:], drawn.w))
    if info.label_names:
        add("label_indices", _label_indices(info, work.labels, drawn))
        parts.extend(_label_names(info, work.labels, drawn, fields["label_names"].number))
    if plan.return_scores:
        assert drawn.scores is not None
        assert drawn.probabilities is not None
        add("scores", [_bytes(drawn.scores)])
        add("probabilities", [_bytes(drawn.probabilities)])
    return b"".join(field(gan_service_pb2.StreamSamplesResponse.CHUNK_FIELD_NUMBER, parts) if chunk else parts)


def _tensor(sample_shape: tuple[int, ...], samples: Sequence[NDArray[np.generic]]) -> list[Part]:
    """Return the parts of a Tensor."""
    tensor = tensor_pb2.Tensor(data_type=_data_type(samples), shape=(sum(map(len, samples)), *sample_shape))
    data = [_bytes(part) for part in samples]
    return [tensor.SerializeToString(), *field(tensor_pb2.Tensor.DATA_FIELD_NUMBER, data)]


def _images(encoding: tensor_pb2.Encoding.ValueType, files: Sequence[bytes]) -> list[Part]:
    """Return the parts of Samples that hold files."""
    parts: list[Part] = [tensor_pb2.EncodedImages(encoding=encoding).SerializeToString()]
    for file in files:
        parts.extend(field(tensor_pb2.EncodedImages.FILES_FIELD_NUMBER, [file]))
    return field(tensor_pb2.Samples.IMAGES_FIELD_NUMBER, parts)


def _label_indices(info: ModelInfo, labels: Labels, drawn: Drawn) -> list[Part]:
    """Return the packed index of each sample's label."""
    if isinstance(labels, int):
        return [varint(labels) * sum(map(len, drawn.samples))]
    if len(info.label_names) <= _ONE_BYTE_NUMBERS:
        return [_bytes(part.astype(np.uint8)) for part in drawn.labels]
    numbers = [varint(index) for index in range(len(info.label_names))]
    return [b"".join([numbers[index] for index in part.tolist()]) for part in drawn.labels]


def _label_names(info: ModelInfo, labels: Labels, drawn: Drawn, number: int) -> list[Part]:
    """Return the field of each sample's label."""
    if isinstance(labels, int):
        return [b"".join(field(number, [info.label_names[labels].encode()])) * sum(map(len, drawn.samples))]
    names = [b"".join(field(number, [name.encode()])) for name in info.label_names]
    return [b"".join([names[index] for index in part.tolist()]) for part in drawn.labels]


def _bytes(array: NDArray[np.generic]) -> memoryview:
    """Return an array's memory, little-endian."""
    return np.ascontiguousarray(array).data.cast("B")


def serialised_scores(info: ModelInfo, scored: Scored) -> bytes:
    """Return a serialised ScoreResponse."""
    numbers = gan_service_pb2.ScoreResponse
    parts: list[Part] = [numbers(model=info.name, version=info.version).SerializeToString()]
    parts.extend(field(numbers.SCORES_FIELD_NUMBER, [_bytes(scored.scores)]))
    parts.extend(field(numbers.PROBABILITIES_FIELD_NUMBER, [_bytes(scored.probabilities)]))
    if scored.typicality is not None:
        assert info.atypical_until is not None
        parts.extend(field(numbers.TYPICALITY_FIELD_NUMBER, [_bytes(scored.typicality)]))
        unlike = (scored.typicality <= info.atypical_until).astype(np.uint8)
        parts.extend(field(numbers.OUT_OF_DISTRIBUTION_FIELD_NUMBER, [_bytes(unlike)]))
    return b"".join(parts)


def set_scores(
    response: gan_service_pb2.SampleResponse | gan_service_pb2.ScoreResponse,
    scores: NDArray[np.float32] | None,
    probabilities: NDArray[np.float32] | None,
) -> None:
    """Set the scores and probabilities of an answer, [N] each."""
    assert scores is not None
    assert probabilities is not None
    response.scores.extend(scores.tolist())
    response.probabilities.extend(probabilities.tolist())


def set_typicality(response: gan_service_pb2.ScoreResponse, info: ModelInfo, typicality: NDArray[np.float32]) -> None:
    """Set the typicality of an answer, [N], and which samples are out of distribution."""
    assert info.atypical_until is not None
    response.typicality.extend(typicality.tolist())
    response.out_of_distribution.extend((typicality <= info.atypical_until).tolist())


def _set_tensor(tensor: tensor_pb2.Tensor, sample_shape: tuple[int, ...], parts: Sequence[NDArray[np.generic]]) -> None:
    tensor.data_type = _data_type(parts)
    tensor.shape.extend((sum(map(len, parts)), *sample_shape))
    tensor.data = b"".join(part.data for part in parts)


def _data_type(parts: Sequence[NDArray[np.generic]]) -> tensor_pb2.DataType.ValueType:
    return tensor_pb2.DATA_TYPE_UINT8 if parts[0].dtype == np.uint8 else tensor_pb2.DATA_TYPE_FLOAT32


def _set_labels(
    response: gan_service_pb2.SampleResponse, info: ModelInfo, labels: int | NDArray[np.int64] | None, drawn: Drawn
) -> None:
    if isinstance(labels, int):
        count = sum(map(len, drawn.samples))
        response.label_indices.extend([labels] * count)
        response.label_names.extend([info.label_names[labels]] * count)
        return
    for part in drawn.labels:
        indices = part.tolist()
        response.label_indices.extend(indices)
        response.label_names.extend([info.label_names[index] for index in indices])
