"""Make tiny models with gray, RGB, alpha and labelled pictures, and files of their samples."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ganserve.v1 import gan_service_pb2, tensor_pb2
from tiny_packages import CONDITIONAL, RGB, UNCONDITIONAL, VECTOR, TinyModel

if TYPE_CHECKING:
    from ganserve_server.service import GanService


PNG, JPEG, WEBP, FLOAT32 = (
    tensor_pb2.ENCODING_PNG,
    tensor_pb2.ENCODING_JPEG,
    tensor_pb2.ENCODING_WEBP,
    tensor_pb2.ENCODING_FLOAT32,
)


GRAY_ALPHA = TinyModel(shape=(6, 10, 2), label_names=())


RGBA = TinyModel(shape=(6, 10, 4), label_names=())


MODELS = {
    "gray": UNCONDITIONAL,
    "gray-alpha": GRAY_ALPHA,
    "rgb": RGB,
    "rgba": RGBA,
    "labelled": CONDITIONAL,
    "vector": VECTOR,
}


def sample(gan: GanService, **fields: object) -> gan_service_pb2.SampleResponse:
    return asyncio.run(gan.sample(gan_service_pb2.SampleRequest(**{"seed": 3, "count": 20} | fields)))


def decoded(file: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(file)) as image:
        pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def files(encoding: int, *content: bytes) -> tensor_pb2.Samples:
    return tensor_pb2.Samples(images=tensor_pb2.EncodedImages(encoding=encoding, files=content))
