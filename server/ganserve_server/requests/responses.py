"""Build the answers to Sample and Score. N = samples, Z = values of one latent."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ganserve.v1 import gan_service_pb2, tensor_pb2
from ganserve_server.models.model import GeneratorWork
from ganserve_server.models.model_info import ModelInfo
from ganserve_server.pictures.encoding import as_float32
from ganserve_server.requests.sample_plan import SamplePlan
from ganserve_server.sampling.drawing import Drawn


def set_sample_response(
    response: gan_service_pb2.SampleResponse,
    info: ModelInfo,
    plan: SamplePlan,
    work: GeneratorWork,
    drawn: Drawn,
    files: Sequence[bytes] | None,
) -> None:
    """Fill an empty answer to a plan, or to the part of it in `work`.

    `files` are the encoded samples; None if they travel as a tensor.
    """
    response.model, response.version = info.name, info.version
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
    if info.label_names:
        _set_labels(response, info, work.labels, drawn)
    if plan.return_scores:
        set_scores(response, drawn.scores, drawn.probabilities)
    if plan.selection is not None:
        response.selection.proposed, response.selection.accepted = drawn.proposed, drawn.accepted


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
    uint8 = parts[0].dtype == np.uint8
    tensor.data_type = tensor_pb2.DATA_TYPE_UINT8 if uint8 else tensor_pb2.DATA_TYPE_FLOAT32
    tensor.shape.extend((sum(map(len, parts)), *sample_shape))
    tensor.data = b"".join(part.data for part in parts)


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
