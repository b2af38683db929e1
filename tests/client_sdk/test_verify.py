"""Test verifying pictures: those of each model and option, changed ones, and those of strangers."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from commands import ganserve
from ganserve import BestOf, Client, InvalidRequest, ModelNotFound, Rejection
from ganserve._calls.unary_calls import Call
from ganserve._marks.files import png_with_xmp
from ganserve._marks.mark import Mark
from ganserve._marks.xmp import MarkWriter
from ganserve._results.origin import Origin
from ganserve.v1 import gan_service_pb2, tensor_pb2
from tiny_packages import TinyModel, build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Api


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Return a client of models with pictures large enough for JPEG and WebP."""
    folder = tmp_path_factory.mktemp("models")
    build_tiny_package(folder, "gray", model=TinyModel(shape=(32, 24, 1), latent_dimension=64))
    build_tiny_package(folder, "rgb", model=TinyModel(shape=(32, 24, 3), latent_dimension=64))
    build_tiny_package(folder, "rgba", model=TinyModel(shape=(32, 24, 4), label_names=(), latent_dimension=64))
    with Client.local(folder) as client:
        yield client


def written(image: np.ndarray, form: str, xmp: bytes = b"", **options: Any) -> bytes:
    """Return a picture file of an image [H, W, C]."""
    file = io.BytesIO()
    pixels = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    pixels.save(file, form, **({"xmp": xmp} if xmp and form != "PNG" else {}), **options)
    return png_with_xmp(file.getvalue(), xmp) if xmp and form == "PNG" else file.getvalue()


def test_a_picture_is_the_sample_of_its_mark(api: Api) -> None:
    batch = api.sample(5, "one", model="tiny", version=1, seed=2**63 + 1, offset=3)
    verdict = api.verify(batch.png(2))
    assert (verdict.likeness, verdict.matches, verdict.package) == ("exact", True, "same")
    assert (verdict.model, verdict.version, verdict.seed) == ("tiny", 1, 2**63 + 1)
    assert (verdict.indices, verdict.labels, verdict.exact_samples) == ((5,), ("one",), 1)
    assert (verdict.largest_difference, verdict.mean_difference, verdict.notes) == (0, 0.0, ())
    assert verdict.reason == f"bit for bit the sample of tiny version 1, seed {2**63 + 1}, sample 5"
    wrong = api.verify(batch.png(2), seed=7)
    assert (wrong.likeness, wrong.seed) == ("different", 7), "model and seed that are given count more than the mark"


@pytest.mark.parametrize(
    "options",
    [
        {"truncation": 0.3},
        {"select": BestOf(4)},
        {"select": Rejection(max_proposals=6)},
        {"label": ["two", "zero", "zero", "one", "two", "one"]},
        {"latents": np.linspace(-1, 1, 6 * 64).reshape(6, 64), "label": "one"},
        {"encoding": "png"},
        {"encoding": "float32"},
    ],
    ids=str,
)
def test_single_pictures_and_grids_of_every_option(client: Client, options: dict[str, Any]) -> None:
    label = options.pop("label", None)
    where = {} if "latents" in options else {"seed": 4, "offset": 11}
    batch = client.sample(6, label, model="rgb", **where, **options)
    for picture in (batch.png(3), batch.png(3, scale=3), batch.grid_png(), batch[::-1].grid_png(captions=True)):
        verdict = client.verify(picture)
        assert (verdict.likeness, verdict.package) == ("exact", "same"), verdict
    assert client.verify(batch.grid_png()).exact_samples == 6


def test_controls_are_drawn_again(api: Api) -> None:
    batch = api.sample(2, model="tiny-codes", seed=1, controls={"c0": -0.75})
    assert api.verify(batch.png(1)).likeness == "exact"
    assert api.verify(batch.png(1), controls={"c0": 0.75}).likeness != "exact"
    assert api.verify(batch.png(1, mark=False), model="tiny-codes", seed=1, controls={"c0": -0.75}).indices == (1,)


def test_a_walk_and_scattered_samples(client: Client) -> None:
    walk = client.interpolate(1, 2, 5, model="gray")
    assert client.verify(walk.grid_png()).likeness == client.verify(walk.png(2)).likeness == "exact"
    batch = client.sample(60, model="gray", seed=8)
    scattered = batch[[59, 3, 3, 41, 0]]
    verdict = client.verify(scattered.grid_png())
    assert (verdict.likeness, verdict.indices) == ("exact", (59, 3, 3, 41, 0))


@pytest.mark.parametrize("encoding", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("model", ["gray", "rgb", "rgba"])
def test_the_servers_files_are_exact_or_near(client: Client, model: str, encoding: str) -> None:
    if (model, encoding) == ("rgba", "JPEG"):
        return  # has no alpha
    request = gan_service_pb2.SampleRequest(
        model=model, seed=5, count=3, encoding=tensor_pb2.Encoding.Value(f"ENCODING_{encoding}")
    )
    answer: Any = client._transport.unary(Call("Sample", request, lambda response: response, 60))
    for index, file in enumerate(answer.samples.images.files):
        verdict = client.verify(file)
        assert verdict.likeness == ("exact" if encoding == "PNG" else "near"), verdict
        assert (verdict.indices, verdict.package, verdict.notes) == ((index,), "same", ())


def test_changed_pictures_say_how_far(client: Client) -> None:
    batch = client.sample(2, model="rgb", seed=6)
    sample, other = batch
    image, xmp = sample.image, sample.xmp
    edited = image.copy()
    edited[4:9, 4:9] = 255 - edited[4:9, 4:9]
    resized = np.asarray(sample.to_pil().resize((72, 100), Image.Resampling.BICUBIC))
    off_by_one = image.astype(np.int16)
    off_by_one[0, 0] += 1 - 2 * (off_by_one[0, 0] == 255)
    found = {
        name: client.verify(picture)
        for name, picture in {
            "edited": written(edited, "PNG", xmp),
            "resized": written(resized, "PNG", xmp),
            "rounded": written(off_by_one.astype(np.uint8), "PNG", xmp),
            "jpeg": written(image, "JPEG", xmp, quality=70, subsampling=2),
            "lossless webp": written(image, "WEBP", xmp, lossless=True),
            "alpha": written(np.dstack([image, np.full((32, 24, 1), 255, np.uint8)]), "PNG", xmp),
            "other": written(other.image, "PNG", xmp),
            "noise": written(np.random.default_rng(0).integers(0, 256, (32, 24, 3), np.uint8), "PNG", xmp),
        }.items()
    }
    assert {name: verdict.likeness for name, verdict in found.items()} == {
        "edited": "changed",
        "resized": "changed",
        "rounded": "near",
        "jpeg": "near",
        "lossless webp": "exact",
        "alpha": "exact",
        "other": "different",
        "noise": "different",
    }
    difference = np.abs(edited.astype(int) - image)
    assert found["edited"].largest_difference == difference.max()
    assert found["edited"].mean_difference == pytest.approx(difference.mean())
    assert found["resized"].notes == ("the picture is 72x100 pixels, resized to 24x32",)
    assert "it differs by" in found["other"].reason


def test_a_picture_cannot_ask_for_any_number_of_draws(client: Client) -> None:
    many = client.sample(1, model="gray", seed=1, select=BestOf(2))
    origin = Origin("", '{"selection":{"max_proposals_per_sample":1024,"method":"SELECTION_METHOD_BEST_OF_N"}}')
    copies = replace(many[np.zeros(1100, int)], indices=np.arange(1100), origin=origin)
    verdict = client.verify(copies.grid_png(scale=1))
    assert verdict.likeness == "unknown"
    assert "it would take 1,126,400 draws" in verdict.reason
    with pytest.raises(InvalidRequest, match="label: is for a picture of one sample; this one has 1100"):
        client.verify(copies.grid_png(scale=1), label="one")


def test_a_grid_with_one_changed_sample_is_a_changed_copy(client: Client) -> None:
    batch = client.sample(9, model="rgb", seed=6)
    samples = batch.samples.copy()
    samples[4] = 0
    verdict = client.verify(replace(batch, samples=samples).grid_png())
    assert (verdict.likeness, verdict.exact_samples) == ("changed", 8)
    assert "8 of 9 samples are equal" in verdict.reason


def test_removed_marks_are_replaced_by_what_is_told(client: Client) -> None:
    batch = client.sample(30, model="gray", seed=77)
    bare = batch.png(23, mark=False)
    unmarked = client.verify(bare)
    assert (unmarked.likeness, unmarked.mark, unmarked.source_type) == ("unknown", None, "")
    assert "give its model and seed" in unmarked.reason
    assert batch.labels is not None
    found = client.verify(bare, model="gray", seed=77)
    assert (found.likeness, found.indices, found.package) == ("exact", (23,), "unknown")
    told = client.verify(bare, model="gray", seed=77, index=23, label=int(batch.labels[23]))
    assert told.likeness == "exact"
    wrong = client.verify(bare, model="gray", seed=78)
    assert wrong.likeness == "different"
    assert "tried samples 0 to 63" in wrong.reason
    labelled = client.sample(30, "two", model="gray", seed=77).png(5, mark=False)
    assert client.verify(labelled, model="gray", seed=77).labels == ("two",), "each label is tried"
    assert client.verify(written(batch[3].image, "JPEG"), model="gray", seed=77).likeness == "near"
    assert client.verify(bare, model="rgb", seed=77).likeness == "different"


def test_gone_and_replaced_models_are_said(tmp_path: Path) -> None:
    build_tiny_package(tmp_path, "a", 1)
    with Client.local(tmp_path) as first:
        picture, other = first.sample(1, "one", seed=1).png(0), first.sample(1, "one", seed=2)[0]
        same = first.verify(picture)
    (tmp_path / "a").rename(tmp_path / "b")
    manifest = tmp_path / "b" / "1" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"name": "a"', '"name": "b"').replace('"name":"a"', '"name":"b"'))
    with Client.local(tmp_path) as gone:
        verdict = gone.verify(picture)
        assert (verdict.likeness, verdict.package, verdict.mark) == ("unknown", "unknown", same.mark)
        assert "there is no model 'a'" in verdict.reason
        assert gone.verify(picture, model="b").likeness == "exact"
        with pytest.raises(ModelNotFound):
            gone.verify(picture, model="c")
    build_tiny_package(tmp_path, "a", 1, model=TinyModel(label_names=("x", "one")))
    with Client.local(tmp_path) as replaced:
        verdict = replaced.verify(picture)
        assert (verdict.package, verdict.likeness in ("exact", "unknown")) == ("replaced", True)
        changed = replaced.verify(written(other.image, "PNG", other.xmp.replace(b'LabelIndex="1"', b'LabelIndex="0"')))
        assert changed.likeness == "unknown"
        assert "another package under this name" in changed.reason
        assert any("is not the one that the mark names" in note for note in changed.notes)


@pytest.mark.parametrize(
    ("mark", "reason"),
    [
        (Mark(model="gray", version=1, seed=1, options="[" * 5000), "does not know"),
        (Mark(model="gray", version=1, seed=1, options='{"count":"9"}'), "never have"),
        (Mark(model="gray", version=1, seed=1, options='{"style_of_later":1}'), "does not know"),
        (Mark(model="gray", version=1, seed=1, options='{"truncation":-1}'), "truncation"),
        (Mark(model="gray", version=1, seed=1, options='"\\u001b[2J"'), "does not know"),
        (Mark(model="gray", version=1, seed=1, complete=False), "no room"),
        (Mark(model="gray", version=1), "no seed"),
        (Mark(model="gray", version=9, seed=1), "no version 9"),
        (Mark(model="\x1b[31m", version=1, seed=1), "there is no model"),
    ],
)
def test_marks_of_strangers_get_a_reason(client: Client, mark: Mark, reason: str) -> None:
    image = np.zeros((32, 24, 1), np.uint8)
    verdict = client.verify(written(image, "PNG", MarkWriter(mark).sample(0, 0, "zero")))
    assert verdict.likeness == "unknown"
    assert reason in verdict.reason
    given = written(image, "PNG", MarkWriter(Mark(model="gray", version=1)).sample(0, 0, "zero", b"\0\0\xc0\x7f" * 64))
    assert "not finite" in client.verify(given).reason
    short = written(image, "PNG", MarkWriter(Mark(model="gray", version=1)).sample(0, 0, "zero", bytes(8)))
    assert "2 values of latents; expected 1 x 64" in client.verify(short).reason


def test_what_is_no_picture_is_refused(client: Client, tmp_path: Path) -> None:
    animation = io.BytesIO()
    frames = [Image.new("L", (32, 24), level) for level in (0, 99)]
    frames[0].save(animation, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    table = tmp_path / "x.csv"
    table.write_text("x0,x1\n1,2\n")
    for picture, reason in (
        (b"", "cannot be read as a picture"),
        (table, "'x.csv' cannot be read as a picture"),
        (tmp_path / "none.png", "'none.png' does not exist"),
        (tmp_path, "cannot be read"),
        (animation.getvalue(), "is an animation"),
        (7, "is an int; expected a path"),
        (io.StringIO("x"), "open for reading bytes"),
    ):
        with pytest.raises(InvalidRequest, match=reason):
            client.verify(picture)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="index: is -1"):
        client.verify(table, index=-1)


def test_grids_without_a_mark_are_verified_by_their_layout(client: Client) -> None:
    batch = client.sample(4, model="gray", seed=3)
    info, file, half = PngInfo(), io.BytesIO(), io.BytesIO()
    with Image.open(io.BytesIO(batch.grid_png())) as image:
        image.load()
        info.add_itxt("ganserve.grid", image.text["ganserve.grid"])  # type: ignore[attr-defined]
        image.save(file, "PNG", pnginfo=info)
        image.resize((image.width * 2, image.height * 2)).save(half, "PNG", pnginfo=info)
    verdict = client.verify(file.getvalue())
    assert (verdict.likeness, verdict.mark, verdict.exact_samples) == ("exact", None, 4)
    assert verdict.notes == ("the picture has a layout but no mark: truncation, controls and selection are unknown",)
    assert client.verify(half.getvalue()).likeness in ("exact", "changed")


@pytest.mark.parametrize("labels", [None, "two", ["one", "one", "two", "two", "two"]])
def test_grids_that_lost_their_layout_are_found_by_their_size(client: Client, labels: Any) -> None:
    batch = client.sample(5, labels, model="gray", seed=3)
    png = batch.grid_png()
    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image)
        xmp = str(image.info["XML:com.adobe.xmp"]).encode()
    bare = written(pixels[..., None], "PNG")
    verdict = client.verify(bare, model="gray", seed=3)
    assert (verdict.likeness, verdict.exact_samples, verdict.labels) == ("exact", 5, batch.label_names)
    assert any("it has no layout; by its size it is a grid of" in note for note in verdict.notes)
    assert client.verify(bare, model="gray", seed=4).likeness == "different"
    assert client.verify(written(pixels[..., None], "JPEG", xmp, quality=90)).likeness == "changed"
    assert client.verify(written(pixels[..., None], "WEBP", xmp, lossless=True)).likeness == "exact"
    later = client.sample(4, "two", model="gray", seed=3, offset=8).grid_png(mark=False)
    assert client.verify(later, model="gray", seed=3, index=8, label="two").likeness == "exact"
    cut = client.verify(written(pixels[:-9, ..., None], "PNG", xmp))
    assert cut.likeness == "unknown"
    assert "a grid that has lost its layout" in cut.reason


def test_the_command(client: Client, server: str, tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        done = ganserve(*arguments, folder=tmp_path, GANSERVE_TARGET=server)
        return done.returncode, done.stdout, done.stderr

    assert run("sample", "-n", "6", "--model", "tiny", "--seed", "1", "--out", "x.png")[0] == 0
    assert run("sample", "-n", "2", "--model", "tiny", "--seed", "1", "--out", "bare", "--no-mark")[0] == 0
    bare = sorted(str(file) for file in (tmp_path / "bare").iterdir())
    code, out, err = run("verify", "x.png")
    assert (code, err) == (0, "")
    assert out.startswith("EXACT      x.png: bit for bit the 6 samples of tiny version 2, seed 1, samples 0 to 5\n")
    assert "the mark says: tiny version 2, seed 1, 6 samples, package " in out
    code, out, _ = run("verify", "bare")
    assert (code, out.count("UNKNOWN")) == (1, 2)
    for place in ("deep/b/c", "deep/a", "deep/.hidden"):
        (tmp_path / place).mkdir(parents=True)
        assert run("sample", "-n", "1", "--model", "tiny", "--seed", "1", "--out", f"{place}/one.png")[0] == 0
    code, out, err = run("verify", "deep")
    assert (code, err) == (0, "")
    assert re.findall(r"EXACT +(\S+):", out) == ["deep/a/one.png", "deep/b/c/one.png"]
    assert "1 samples" not in out
    (tmp_path / "none").mkdir()
    assert "FILE none: is a folder without pictures. Give files" in run("verify", "none")[2]
    code, out, _ = run("verify", *bare, "--model", "tiny", "--seed", "1", "--json")
    assert code == 0
    facts = json.loads(out)
    assert [(each["likeness"], each["indices"]) for each in facts] == [("exact", [0]), ("exact", [1])]
    rogue = MarkWriter(Mark(model="tiny", version=1, seed=1, options='"x"')).sample(0, 0, "\x9b31m\u202eevil")
    (tmp_path / "r.png").write_bytes(written(np.zeros((8, 8, 1), np.uint8), "PNG", rogue))
    code, out, _ = run("verify", "r.png")
    assert code == 1
    assert re.search(r"label \\x9b31m\\u202eevil", out), out
    assert run("verify", "r.png", "--control", "c0")[0] == 2
    (tmp_path / "cut.png").write_bytes((tmp_path / "x.png").read_bytes()[:99])
    code, out, err = run("verify", "cut.png")
    assert (code, out) == (2, "")
    assert "FILE cut.png: cannot be read as a picture" in err
    code, out, err = run("verify", "cut.png", "x.png")
    assert (code, err) == (1, "")
    assert re.findall(r"^(UNREADABLE|EXACT) +(\S+):", out, re.MULTILINE) == [
        ("UNREADABLE", "cut.png"),
        ("EXACT", "x.png"),
    ]
    code, out, _ = run("verify", "cut.png", "x.png", "--json")
    assert [each["likeness"] for each in json.loads(out)] == ["unreadable", "exact"]
