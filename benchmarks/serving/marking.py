"""Measure what marks cost: CPU time and bytes of encoding pictures, bare, marked and signed, by turns.

python benchmarks/serving/marking.py [--certificate FILE --key FILE] [--count 64] [--rounds 15] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ganserve import Client
from ganserve._marks.signing import C2paSigner
from ganserve.v1 import gan_service_pb2, tensor_pb2
from ganserve_server.pictures.encoding import encoded_files
from ganserve_server.pictures.formats import FORMATS
from ganserve_server.pictures.marks import Marking, RequestMarks
from ganserve_server.pictures.threads import PictureThreads

if TYPE_CHECKING:
    from numpy.typing import NDArray


def pictures(count: int) -> dict[str, NDArray[np.uint8]]:
    """Return digits, and smooth colours with a little noise, uint8 [N, H, W, C]."""
    with Client.local() as client:
        found = {"32x32 gray": client.sample(count, seed=1).images}
    random = np.random.default_rng(0)
    for side in (64, 256):
        y, x = np.mgrid[:side, :side] / side
        phases = random.uniform(0, 6, (count, 1, 1, 3))
        waves = np.sin(6 * x[..., None] + phases) * np.cos(5 * y[..., None] + 2 * phases)
        noisy = 127 + 110 * waves + random.normal(0, 3, waves.shape)
        found[f"{side}x{side} RGB"] = np.clip(noisy, 0, 255).astype(np.uint8)
    return found


def marks(signer: C2paSigner | None) -> RequestMarks:
    """Return the marks of an ordinary request."""
    labels = tuple("0123456789")
    info = SimpleNamespace(name="mnist", version=1, latent_dimension=64, label_bytes=12, label_names=labels)
    model = cast("Any", SimpleNamespace(info=info, digest="0f" * 32))
    return RequestMarks(model, gan_service_pb2.SampleRequest(truncation=0.7), 2**53, Marking(signer=signer))


def measure(
    images: NDArray[np.uint8], encoding: Any, signer: C2paSigner | None, rounds: int
) -> dict[str, tuple[float, float]]:
    """Return microseconds of CPU and bytes of one file, by way."""
    threads = PictureThreads(1)
    ways: dict[str, RequestMarks | None] = {"bare": None, "marked": marks(None)}
    if signer is not None:
        ways["signed"] = marks(signer)
    times: dict[str, list[float]] = {way: [] for way in ways}
    sizes = {}
    for _ in range(rounds):
        for way, made in ways.items():
            xmp = None if made is None else lambda place, made=made: made.xmp(place, place % 10, None)
            started = time.process_time()
            files = asyncio.run(encoded_files(threads, [images], encoding, xmp, made and made.signed))
            times[way].append((time.process_time() - started) / len(images) * 1e6)
            sizes[way] = statistics.mean(map(len, files))
    return {way: (statistics.median(times[way]), sizes[way]) for way in ways}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    signer = C2paSigner(arguments.certificate, arguments.key) if arguments.certificate else None
    results = {}
    print("| pictures | format | way | CPU, µs | more, µs | ratio | bytes |\n|---|---|---|---|---|---|---|")
    for name, images in pictures(arguments.count).items():
        for encoding, form in FORMATS.items():
            found = measure(images, encoding, signer, arguments.rounds)
            results[f"{name} {tensor_pb2.Encoding.Name(encoding)}"] = found
            bare = found["bare"][0]
            for way, (cost, size) in found.items():
                row = (name, form.name, way, f"{cost:.0f}", f"{cost - bare:.0f}", f"{cost / bare:.2f}", f"{size:.0f}")
                print(f"| {' | '.join(row)} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
