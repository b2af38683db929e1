"""Test reading marks from strangers, and the marks of pictures that the SDK writes."""

from __future__ import annotations

import contextlib
import io
import pickle
import re
import shutil
import struct
import subprocess
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ganserve import BestOf, Client, InvalidRequest, SampleBatch
from ganserve._marks.files import png_with_xmp, xmp_of
from ganserve._marks.mark import DIGITAL_SOURCE_TYPE, Mark
from ganserve._marks.xmp import MOST_XMP_BYTES, MarkError, MarkWriter, generated_xmp, read_mark
from ganserve._results.marked_picture import MarkedPicture

if TYPE_CHECKING:
    from pathlib import Path

NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
WHOLE = MarkWriter(Mark(model="m", version=3, package_sha256="0f" * 32, seed=5, options='{"truncation":0.5}'))


@pytest.fixture
def batch(repository: Path) -> SampleBatch:
    with Client.local(repository, model="tiny-codes") as client:
        return client.sample(4, seed=9, offset=2, truncation=0.5, controls={"c0": 0.25}, select=BestOf(2))


def mark_of(file: bytes) -> Mark:
    mark = MarkedPicture.read(file).mark
    assert mark is not None
    return mark


@given(st.text(max_size=300), st.integers(0, 2**48 - 1), st.binary(max_size=40))
def test_any_label_is_readable_xml(label: str, index: int, latent: bytes) -> None:
    mark, source_type = read_mark(WHOLE.sample(index, 1, label.encode(errors="replace").decode(), latent))
    assert source_type == DIGITAL_SOURCE_TYPE
    assert mark is not None
    assert (mark.label_index, mark.latents, mark.seed, mark.options) == (1, latent, 5, '{"truncation":0.5}')
    assert mark.index == (None if latent else index)
    assert (
        mark.label[:255] == re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", mark.label)[:255]
    )


def test_properties_may_be_elements_as_other_programs_write_them() -> None:
    text = WHOLE.sample(2, 1, "one").decode()
    names = re.findall(r' (ganserve:\w+|Iptc4xmpExt:\w+)="([^"]*)"', text)
    bare = re.sub(r' (ganserve|Iptc4xmpExt):\w+="[^"]*"', "", text)
    elements = "".join(f"<{name}>{value}</{name}>" for name, value in names)
    rewritten = bare.replace("<ganserve:Options>", f"{elements}<ganserve:Options>")
    assert rewritten.count("ganserve:Model>") == 2
    assert read_mark(rewritten.encode()) == read_mark(text.encode())


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (lambda xmp: xmp.replace(b"<x:xmpmeta", b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x:xmpmeta'), "document type"),
        (
            lambda xmp: xmp.replace(b"<x:xmpmeta", b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x:xmpmeta'),
            "document type",
        ),
        (lambda xmp: xmp.replace(b'Seed="5"', b'Seed="-5"'), "Seed"),
        (lambda xmp: xmp.replace(b'Seed="5"', b'Seed="99999999999999999999"'), "Seed"),
        (lambda xmp: xmp.replace(b'Seed="5"', "Seed='٣'".encode()), "Seed"),
        (lambda xmp: xmp.replace(b"0f0f", b"0F0F", 1), "PackageSha256"),
        (lambda xmp: xmp.replace(b"<ganserve:Options>", b"<ganserve:Seed>6</ganserve:Seed><ganserve:Options>"), "two"),
        (lambda xmp: xmp.replace(b"</rdf:RDF>", b""), "damaged"),
        (lambda xmp: xmp.replace(b"m", b"\xff", 1), "damaged"),
        (lambda xmp: xmp + b" " * MOST_XMP_BYTES, "at most"),
        (lambda xmp: b"<a>" * 20_000, "damaged"),
        (lambda xmp: b"", "damaged"),
    ],
)
def test_wrong_marks_are_refused(wrong: object, reason: str) -> None:
    with pytest.raises(MarkError, match=reason):
        read_mark(wrong(WHOLE.sample(2)))  # type: ignore[operator]


@given(st.binary(max_size=400))
def test_no_bytes_raise_another_error(noise: bytes) -> None:
    xmp = WHOLE.sample(2, 1, "one")
    for broken in (noise, xmp[:150] + noise + xmp[150:], xmp[: 600 + len(noise)] + noise):
        with contextlib.suppress(MarkError):
            read_mark(broken)


def test_foreign_and_generic_marks_have_no_facts() -> None:
    assert read_mark(generated_xmp()) == (None, DIGITAL_SOURCE_TYPE)
    assert read_mark(b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>') == (None, "")


@pytest.mark.parametrize("bombs", [1, 40])
def test_a_bomb_in_a_png_is_not_inflated(bombs: int) -> None:
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "PNG")
    content = b"iTXtXML:com.adobe.xmp\x00\x01\x00\x00\x00" + zlib.compress(bytes(20 * 2**20), 9)
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    whole = file.getvalue()
    with pytest.raises(InvalidRequest, match="cannot be read as a picture"):
        MarkedPicture.read(whole[:33] + bombs * chunk + whole[33:])


def test_pictures_of_the_sdk_are_marked(batch: SampleBatch, tmp_path: Path) -> None:
    options = (
        '{"controls":{"c0":0.25},"selection":{"max_proposals_per_sample":2,"method":"SELECTION_METHOD_BEST_OF_N"},'
        '"truncation":0.5}'
    )
    assert batch.origin is not None
    assert len(batch.origin.package_sha256) == 64
    one = Mark(
        model="tiny-codes",
        version=1,
        package_sha256=batch.origin.package_sha256,
        seed=9,
        index=3,
        label_index=int(batch.labels[1]) if batch.labels is not None else None,
        label=batch[1].label_name or "",
        options=options,
    )
    files = batch.save(tmp_path)
    assert mark_of(batch.png(1)) == mark_of(batch.png(1, scale=3)) == mark_of(files[1].read_bytes()) == one
    assert read_mark(batch[1].xmp)[0] == one
    assert mark_of(batch[1]._repr_png_() or b"") == one
    grid = mark_of(batch.grid_png(captions=True))
    assert (grid.samples, grid.index, grid.seed, grid.options) == (4, None, 9, options)
    assert mark_of(pickle.loads(pickle.dumps(batch)).png(1)) == one
    with np.load(batch.save_npz(tmp_path / "x.npz")) as archive:
        assert str(archive["options"]) == options
        assert str(archive["package_sha256"]) == batch.origin.package_sha256


def test_pictures_can_be_bare(batch: SampleBatch, tmp_path: Path) -> None:
    for file in (
        batch.png(0, mark=False),
        batch.grid_png(mark=False),
        *(path.read_bytes() for path in batch.save(tmp_path, mark=False)),
    ):
        with Image.open(io.BytesIO(file)) as image:
            image.load()
            assert not image.info
    with pytest.raises(InvalidRequest, match="mark: is a str; expected True, False or a PictureSigner"):
        batch.png(0, mark="no")  # type: ignore[arg-type]


def test_joined_batches_with_different_options_say_that_something_is_missing(repository: Path) -> None:
    with Client.local(repository, model="tiny") as client:
        parts = [client.sample(1, seed=1, offset=i, truncation=t) for i, t in enumerate((0.5, 0.5, 0.7))]
    assert mark_of(SampleBatch.concatenate(parts[:2]).grid_png()).options == '{"truncation":0.5}'
    mixed = mark_of(SampleBatch.concatenate(parts).grid_png())
    assert (mixed.complete, mixed.options) == (False, "")
    assert mixed.package_sha256


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_exiftool_reads_the_mark(batch: SampleBatch, tmp_path: Path, form: str) -> None:
    file = tmp_path / f"x.{form.lower()}"
    if form == "PNG":
        file.write_bytes(batch.png(1))
    else:
        batch[1].to_pil().save(file, xmp=batch[1].xmp)
    command = ["exiftool", "-s", "-validate", "-warning", "-XMP:all", str(file)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    facts = dict(re.findall(r"(?m)^(\w+) +: (.*)$", said))
    assert facts["DigitalSourceType"] == DIGITAL_SOURCE_TYPE
    assert (facts["Validate"], facts["Model"], facts["Seed"], facts["Index"]) == ("OK", "tiny-codes", "9", "3")
    # What exiftool writes again is still the same mark.
    subprocess.run(["exiftool", "-q", "-XMP-dc:Title=mine", str(file)], check=True, timeout=60)
    with Image.open(file) as image:
        image.load()
        assert read_mark(xmp_of(image.info))[0] == read_mark(batch[1].xmp)[0]


def test_a_png_with_xmp_is_whole() -> None:
    file = io.BytesIO()
    Image.new("RGB", (5, 4), (1, 2, 3)).save(file, "PNG")
    with Image.open(io.BytesIO(png_with_xmp(file.getvalue(), WHOLE.sample(1)))) as image:
        image.verify()
