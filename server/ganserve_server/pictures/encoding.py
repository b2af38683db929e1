"""Encode images as picture files, and convert them to and from float32.

N = samples, H, W, C = image.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganserve.v1 import tensor_pb2
from ganserve_server.pictures.formats import FORMATS, FileFormat
from ganserve_server.pictures.threads import PictureThreads


async def encoded_files(
    threads: PictureThreads, samples: list[NDArray[np.generic]], encoding: tensor_pb2.Encoding.ValueType
) -> list[bytes]:
    """Encode images in parallel, off the event loop, to one file for each.

    The samples come in parts, uint8 [n, H, W, C], and fit the encoding: PNG, JPEG or WebP.
    """
    form = FORMATS[encoding]
    images = [image for part in samples for image in part]

    def encode(rows: slice) -> list[bytes]:
        return [_encode(image, form) for image in images[rows]]

    return await threads.map(encode, len(images), images[0].nbytes)


def _encode(image: NDArray[np.generic], form: FileFormat) -> bytes:
    """Return an image [H, W, C] as a file."""
    pixels = np.ascontiguousarray(image[..., 0] if image.shape[-1] == 1 else image)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form.name, **form.options)
    return file.getvalue()


def as_float32(samples: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return uint8 images as value / 255, and vectors unchanged."""
    if samples.dtype != np.uint8:
        return samples.astype(np.float32, copy=False)
    return samples.astype(np.float32) / np.float32(255)


def as_uint8(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return images of value / 255, from 0 to 1, as the nearest levels."""
    levels: NDArray[np.uint8] = np.rint(images * np.float32(255)).astype(np.uint8)
    return levels
