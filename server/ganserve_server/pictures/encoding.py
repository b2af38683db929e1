"""Encode images as picture files, and convert them to and from float32.

N = samples, H, W, C = image.
"""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganserve._marks.files import write_marked
from ganserve.v1 import tensor_pb2
from ganserve_server.pictures.formats import FORMATS, FileFormat
from ganserve_server.pictures.threads import PictureThreads


async def encoded_files(
    threads: PictureThreads,
    samples: list[NDArray[np.generic]],
    encoding: tensor_pb2.Encoding.ValueType,
    xmp: Callable[[int], bytes] | None = None,
    finish: Callable[[bytes, str], bytes] | None = None,
) -> list[bytes]:
    """Encode images in parallel, off the event loop, to one file for each.

    Args:
        threads: The threads that encode.
        samples: The images in parts, uint8 [n, H, W, C], which fit the encoding.
        encoding: PNG, JPEG or WebP.
        xmp: Returns the XMP of the image at a place; None: the files have none.
        finish: Changes a file, given the format by Pillow's name; None: files stay as they are.
    """
    form = FORMATS[encoding]
    images = [image for part in samples for image in part]

    def encode(rows: slice) -> list[bytes]:
        files = [
            _encode(image, form, None if xmp is None else xmp(place))
            for place, image in enumerate(images[rows], rows.start)
        ]
        return files if finish is None else [finish(file, form.name) for file in files]

    return await threads.map(encode, len(images), images[0].nbytes)


def _encode(image: NDArray[np.generic], form: FileFormat, xmp: bytes | None) -> bytes:
    """Return an image [H, W, C] as a file."""
    pixels = np.ascontiguousarray(image[..., 0] if image.shape[-1] == 1 else image)

    def write(**options: Any) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, form.name, **form.options, **options)
        return file.getvalue()

    return write_marked(form.name, write, xmp)


def as_float32(samples: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return uint8 images as value / 255, and vectors unchanged."""
    if samples.dtype != np.uint8:
        return samples.astype(np.float32, copy=False)
    return samples.astype(np.float32) / np.float32(255)


def as_uint8(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return images of value / 255, from 0 to 1, as the nearest levels."""
    levels: NDArray[np.uint8] = np.rint(images * np.float32(255)).astype(np.uint8)
    return levels
