"""Run `make demo`: real digits -> trained GAN -> ONNX -> gRPC server -> labelled samples in an application.

It runs the commands that a user would type, then acts as the application. What demo/ already holds is kept, so a second
run trains and exports nothing.
"""

from __future__ import annotations

import contextlib
import json
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ganserve import Client
from ganserve_training import load_trained
from ganserve_training.evaluation.evaluate import evaluate_samples
from ganserve_training.evaluation.judge import Judgement

ROOT = Path(__file__).resolve().parent.parent
PRESET = "sngan"  # of all presets for these digits, the one whose samples are judged best (benchmarks/presets)
RUN = Path("demo/runs", PRESET)
MODELS = Path("demo/models")
PICTURE = Path("demo/digits.png")
GANSERVE = Path(sys.executable).with_name("ganserve")
JUDGED = 4_000  # as many as there are training digits
GAN_TEST_AT_LEAST, GAN_TRAIN_AT_LEAST = 0.96, 0.91  # what good runs on these digits reach
NN_DISTANCE_RATIO_WITHIN = (0.8, 1.2)
STOP_S = 30


def main() -> int:
    times: dict[str, float] = {}
    with timed(times, "train"):
        command("train", PRESET, "--out", RUN)
    with timed(times, "export"):
        if package := exported(load_trained(RUN).checkpoint_sha256):
            say(f"{package} holds this checkpoint already: not exported again")
        else:
            command("export-onnx", RUN, "--out", MODELS / "mnist")
    started = time.perf_counter()
    with server() as target:
        times["start the server"] = time.perf_counter() - started
        with Client(target) as client, timed(times, f"draw {JUDGED + 100:,} samples"):
            say(f"client.sample(100, label=[0, 0, …, 9, 9]) and client.sample({JUDGED:,}, …) at {target}")
            grid = client.sample(100, label=np.repeat(np.arange(10), 10), seed=0)
            judged = client.sample(JUDGED, label=np.arange(JUDGED) % 10, seed=1)
        grid.save_grid(PICTURE, columns=10, scale=2)
    assert judged.labels is not None  # the digits are labelled
    with timed(times, "judge the samples"):
        judgement = evaluate_samples(judged.images, judged.labels, load_trained(RUN).config.data)

    print("\nWhere the time went")
    for name, seconds in times.items():
        print(f"  {name:<22}{seconds:8.2f} s")
    good = report(judgement)
    print(f"\n{PICTURE} shows ten samples of each digit. Go on by hand, with the package that this made:")
    print(f"  {GANSERVE.relative_to(ROOT)} serve --models {MODELS} --port 50051")
    print(f"  {GANSERVE.relative_to(ROOT)} sample -n 64 --label 7 --out sevens.png       (in a second terminal)")
    return 0 if good else 1


def exported(checkpoint_sha256: str) -> Path | None:
    """Return the newest package if it was made from this checkpoint."""
    manifests = {int(path.parent.name): path for path in MODELS.glob("mnist/[0-9]*/manifest.json")}
    if not manifests:
        return None
    newest = manifests[max(manifests)]
    provenance = json.loads(newest.read_text(encoding="utf-8"))["provenance"]
    return newest.parent if provenance["checkpoint_sha256"] == checkpoint_sha256 else None


def report(judgement: Judgement) -> bool:
    """Print the three figures with their goals; return whether all are met."""
    distance = judgement.nn_distance_ratio
    low, high = NN_DISTANCE_RATIO_WITHIN
    test_met, train_met = judgement.gan_test >= GAN_TEST_AT_LEAST, judgement.gan_train >= GAN_TRAIN_AT_LEAST
    figures = [
        ("GAN-test", f"{judgement.gan_test:.3f}", f"at least {GAN_TEST_AT_LEAST:.3f}", test_met),
        ("GAN-train", f"{judgement.gan_train:.3f}", f"at least {GAN_TRAIN_AT_LEAST:.3f}", train_met),
        ("nearest neighbour", f"{distance:.3f}", f"{low:.3f} to {high:.3f}", low <= distance <= high),
    ]
    meanings = [
        "generated digits that a judge trained on real ones reads as asked",
        f"unseen real digits that a judge trained on these reads right (on real ones: {judgement.judge_accuracy:.3f})",
        "distance to the training digits, divided by that of unseen real ones: low, copies; high, noise",
    ]
    print(f"\nHow good the samples are: {JUDGED:,} that came through the server")
    for (name, value, expected, met), meaning in zip(figures, meanings, strict=True):
        print(f"  {name:<18}{value}  {'ok' if met else 'MISSED'}, {expected}\n{'':20}{meaning}")
    return all(met for *_, met in figures)


def command(*arguments: object) -> None:
    """Run `ganserve …` as a user would, with its output on this terminal."""
    say("ganserve " + " ".join(map(str, arguments)))
    subprocess.run([GANSERVE, *map(str, arguments)], check=True)


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Run `ganserve serve` on a free port; yield its address and stop it at the end."""
    arguments = ["serve", "--models", str(MODELS), "--port", "0"]
    say("ganserve " + " ".join(arguments))
    process = subprocess.Popen([GANSERVE, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found: queue.Queue[str | None] = queue.Queue()

    def relay() -> None:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            if match := re.search(r"serving on (\S+:\d+)", line):
                found.put(match[1])
        found.put(None)

    threading.Thread(target=relay, daemon=True).start()
    try:
        target = found.get()
        if target is None:
            raise SystemExit(f"the server did not start (exit code {process.wait()})")
        yield target
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S)


@contextlib.contextmanager
def timed(times: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    times[name] = time.perf_counter() - started


def say(text: str) -> None:
    print(f"\n$ {text}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    except KeyboardInterrupt:
        sys.exit(130)
