"""Test image folders: labels, decoding, forms, and files that can't be read."""

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganserve_training.config import DataConfig, FolderConfig
from ganserve_training.data import BadFiles, Images, Samples, load_split
from ganserve_training.data.image_decoding import (
    ImageForm,
    PictureFacts,
    UnreadableError,
    decode_picture,
    picture_facts,
)
from ganserve_training.errors import DataError
from image_files import encode, random_pixels, write_folder


def config(path: Path, **changes: Any) -> DataConfig:
    return FolderConfig(path=str(path), **changes)


def everything(samples: Samples) -> np.ndarray:
    return samples.read(np.arange(len(samples)))


def decoded(data: bytes, channels: int, side: int | None = None) -> np.ndarray:
    picture = decode_picture(data)
    return ImageForm(side or min(picture.size), channels).apply(picture)


def test_sub_folders_become_labels_in_order_of_name(tmp_path: Path) -> None:
    pixels = random_pixels(12)
    labels = ["cat", "ant", "bee"] * 4
    images = config(write_folder(tmp_path, pixels, labels)).load(None)
    assert images.info.label_names == ("ant", "bee", "cat")
    assert images.info.sample_shape == (8, 8, 3)
    expected = sorted(range(12), key=lambda index: (labels[index], index))
    np.testing.assert_array_equal(everything(images), pixels[expected])
    assert images.labels is not None
    assert [images.info.label_names[label] for label in images.labels] == sorted(labels)


def test_numeric_labels_are_ordered_by_number(tmp_path: Path) -> None:
    write_folder(tmp_path, random_pixels(12), [str(index) for index in range(12)])
    assert config(tmp_path).load(None).info.label_names == tuple(map(str, range(12)))


def test_both_sides_of_the_split_are_read_and_are_disjoint(tmp_path: Path) -> None:
    write_folder(tmp_path, random_pixels(20), ["a", "b"] * 10)
    train, held_out = (load_split(config(tmp_path), side) for side in ("train", "held_out"))
    assert isinstance(train, Images)  # Small sets are in memory.
    assert (len(train), len(held_out)) == (16, 4)
    assert held_out.labels is not None
    assert np.bincount(held_out.labels).tolist() == [2, 2]
    assert not {item.tobytes() for item in everything(train)} & {item.tobytes() for item in everything(held_out)}


def test_a_csv_file_lists_files_and_their_labels(tmp_path: Path) -> None:
    pixels = random_pixels(5)
    write_folder(tmp_path / "images", pixels)
    table = tmp_path / "labels.csv"
    table.write_text('\ufefflabel,file,extra\n"red, dark",0003.png,1\nblue,0001.png,2\nblue,0000.png,3\n', "utf-8")
    images = config(tmp_path / "images", labels_path=str(table)).load(None)
    assert images.info.label_names == ("blue", "red, dark")
    assert images.labels is not None
    assert images.labels.tolist() == [1, 0, 0]
    np.testing.assert_array_equal(everything(images), pixels[[3, 1, 0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,kind\na.png,1\n", r"no column 'label' \(it has: file, kind\)"),
        ("", r"no column 'file' \(it has: none\)"),
        ("file,label\n", "lists no files"),
        ("file,label\na.png,\n", "line 2: both file and label must have a value"),
        ("file,label\na.png\n", "line 2: both file and label"),
        ("file,label\na.png,1\na.png,2\n", "line 3: a.png is listed twice"),
    ],
)
def test_csv_files_of_another_form_are_refused(tmp_path: Path, text: str, message: str) -> None:
    write_folder(tmp_path, random_pixels(1))
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        config(tmp_path, labels_path=str(tmp_path / "labels.csv")).load(None)


def test_flat_folders_are_unlabelled_and_other_files_are_ignored(tmp_path: Path) -> None:
    pixels = random_pixels(4, channels=1)
    write_folder(tmp_path, pixels)
    (tmp_path / "0001.png").rename(tmp_path / "0001.PNG")
    (tmp_path / "readme.txt").write_text("not a picture")
    (tmp_path / "._0002.png").write_bytes(b"what some systems leave behind")
    images = config(tmp_path).load(None)
    assert images.labels is None
    assert images.info.sample_shape == (8, 8, 1)
    np.testing.assert_array_equal(everything(images), pixels)


def test_deeper_folders_belong_to_the_first_and_ignoring_labels_keeps_the_split(tmp_path: Path) -> None:
    for label in "ab":
        for part in "12":
            write_folder(tmp_path / label / part, random_pixels(4, seed=ord(label) + int(part)))
    labelled, ignored = config(tmp_path), config(tmp_path, labels="ignore")
    assert load_split(labelled, "train").info.label_names == ("a", "b")
    for side in ("train", "held_out"):
        ours = load_split(ignored, side)
        assert ours.labels is None
        np.testing.assert_array_equal(everything(ours), everything(load_split(labelled, side)))


def test_every_image_needs_a_label_and_every_label_an_image(tmp_path: Path) -> None:
    write_folder(tmp_path, random_pixels(6), ["a", "b"] * 3)
    (tmp_path / "c").mkdir()
    with pytest.raises(DataError, match=r"the label 'c' has no images"):
        config(tmp_path).load(None)
    (tmp_path / "c").rmdir()
    write_folder(tmp_path, random_pixels(1))
    with pytest.raises(DataError, match=r"beside its sub-folders, such as 0000.png, .*--data.labels ignore"):
        config(tmp_path).load(None)
    assert len(load_split(config(tmp_path, labels="ignore"), "train")) == 5


def test_missing_and_empty_folders_have_different_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--data\.path /.*/nowhere: does not exist\."):
        config(tmp_path / "nowhere").load(None)
    with pytest.raises(DataError, match=r"holds no images .*: it is empty"):
        config(tmp_path).load(None)
    (tmp_path / "a.heic").write_bytes(b"x")
    with pytest.raises(DataError, match=r"it holds only: 1 \.heic"):
        config(tmp_path).load(None)
    with pytest.raises(DataError, match="must be a folder"):
        config(tmp_path / "a.heic").load(None)
    with pytest.raises(DataError, match=r"--data\.labels-path .*: does not exist"):
        config(tmp_path, labels_path="no.csv").load(None)


def _spoil(folder: Path) -> None:
    whole = (folder / "0001.png").read_bytes()
    (folder / "0001.png").write_bytes(whole[: len(whole) // 2])
    (folder / "0002.png").write_bytes(b"")
    (folder / "0003.png").write_text("<html>not found</html>")


def test_bad_files_are_named_and_counted_with_the_fix(tmp_path: Path) -> None:
    _spoil(write_folder(tmp_path, random_pixels(9)))
    with pytest.raises(DataError) as caught:
        load_split(config(tmp_path), "train")
    lines = str(caught.value).splitlines()
    assert lines[0] == "3 of 9 images can't be used:"
    assert lines[1].startswith(f"  {tmp_path}/0001.png: ")
    assert "truncated" in lines[1].lower() or "png" in lines[1].lower()
    assert lines[2] == f"  {tmp_path}/0002.png: it is empty"
    assert lines[3] == f"  {tmp_path}/0003.png: it is not a PNG, JPEG, WebP, AVIF, BMP, GIF, TIFF or Netpbm image"
    assert lines[4].endswith("--data.on-bad-file skip")


def test_skipped_files_are_reported_and_do_not_change_the_others(tmp_path: Path) -> None:
    _spoil(write_folder(tmp_path, random_pixels(9)))
    reports: list[BadFiles] = []
    skipping = load_split(config(tmp_path, on_bad_file="skip"), "train", report=reports.append)
    (report,) = reports
    assert ([Path(file.name).name for file in report.files], report.total) == (["0001.png", "0002.png", "0003.png"], 9)
    assert report.message(limit=1).splitlines()[-1] == "  and 2 more"
    for number in (1, 2, 3):
        (tmp_path / f"000{number}.png").unlink()
    np.testing.assert_array_equal(everything(skipping), everything(load_split(config(tmp_path), "train")))


def test_no_good_images_or_a_label_without_any_are_errors(tmp_path: Path) -> None:
    write_folder(tmp_path / "all", random_pixels(2))
    for file in (tmp_path / "all").iterdir():
        file.write_bytes(b"x")
    with pytest.raises(DataError, match="None is left to learn from"):
        load_split(config(tmp_path / "all", on_bad_file="skip"), "train")
    write_folder(tmp_path / "one", random_pixels(4), ["a", "a", "a", "b"])
    (tmp_path / "one" / "b" / "0003.png").write_bytes(b"x")
    with pytest.raises(DataError, match="no readable image is left of the label 'b'"):
        load_split(config(tmp_path / "one", on_bad_file="skip"), "train")


def test_a_listed_file_that_is_missing_is_a_bad_file(tmp_path: Path) -> None:
    write_folder(tmp_path, random_pixels(1))
    (tmp_path / "labels.csv").write_text("file,label\n0000.png,a\ngone.png,a\n")
    with pytest.raises(DataError, match=r"1 of 2 images .*\n.*gone.png: No such file"):
        config(tmp_path, labels_path=str(tmp_path / "labels.csv")).load(None)


def test_different_sizes_and_channels_are_refused_with_the_option(tmp_path: Path) -> None:
    for name, side, channels in (("a", 8, 3), ("b", 8, 3), ("c", 10, 3), ("d", 8, 4)):
        (tmp_path / f"{name}.png").write_bytes(encode(random_pixels(1, side, channels)[0]))
    with pytest.raises(DataError, match=r"differ in size: 8 px \(3 images\), 10 px \(1 images\).*--data.size"):
        config(tmp_path).load(None)
    with pytest.raises(DataError, match=r"channels: rgb \(3 images\), rgba \(1 images\).*--data.channels"):
        config(tmp_path, size=8).load(None)
    images = config(tmp_path, size=4, channels="gray-alpha").load(None)
    assert images.info.sample_shape == (4, 4, 2)
    assert everything(images).shape == (4, 4, 4, 2)


def test_images_that_are_not_square_are_cropped_or_refused(tmp_path: Path) -> None:
    wide = np.random.default_rng(0).integers(0, 256, (6, 11, 3), np.uint8)
    tall = wide.transpose(1, 0, 2)
    for name, pixels in (("a", wide), ("b", tall), ("c", wide[:, :6])):
        (tmp_path / f"{name}.png").write_bytes(encode(pixels))
    images = everything(config(tmp_path).load(None))
    np.testing.assert_array_equal(images[0], wide[:, 2:8])
    np.testing.assert_array_equal(images[1], tall[2:8])
    with pytest.raises(DataError, match=r"2 of 3 images .*\n.*a.png: it is 11 x 6 pixels, not square"):
        config(tmp_path, crop="none").load(None)
    assert len(config(tmp_path, crop="none", on_bad_file="skip").load(None)) == 1


def test_resizing_is_antialiased_and_uses_only_the_crop() -> None:
    # A checkerboard between black margins becomes gray; the margins have no effect.
    board = np.zeros((16, 48, 1), np.uint8)
    board[:, 16:32, 0] = 255 * (np.indices((16, 16)).sum(axis=0) % 2)
    small = decoded(encode(board), 1, side=4)
    assert small.shape == (4, 4, 1)
    assert np.abs(small.astype(int) - 127).max() <= 2


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_each_format_is_decoded(form: str) -> None:
    ramp = np.linspace(0, 255, 64 * 64).reshape(64, 64, 1).astype(np.uint8).repeat(3, axis=2)
    ours = decoded(encode(ramp, form, quality=95), 3)
    assert ours.shape == (64, 64, 3)
    assert np.abs(ours.astype(int) - ramp).mean() < 3


def test_exif_orientation_is_applied_to_training_images() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4] = 255  # White is on the left.
    exif = Image.Exif()
    exif[0x0112] = 6  # EXIF orientation: the stored left side is the top.
    turned = decoded(encode(pixels, "PNG", exif=exif.tobytes()), 1)
    assert turned[:4].min() == 255
    assert turned[4:].max() == 0


def test_alpha_is_laid_over_white_and_added_opaque() -> None:
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (200, 0, 0, 255)
    pixels[0, 1] = (200, 0, 0, 0)  # Colour of fully transparent pixels.
    pixels[1, 0] = (0, 0, 0, 51)
    data = encode(pixels)
    np.testing.assert_array_equal(decoded(data, 4), pixels)
    rgb = decoded(data, 3)
    assert rgb[0].tolist() == [[200, 0, 0], [255, 255, 255]]
    assert rgb[1, 0].tolist() == [204, 204, 204]  # A fifth of black on white.
    gray = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
    np.testing.assert_array_equal(decoded(encode(gray), 4), np.dstack([gray, gray, gray, np.full_like(gray, 255)]))
    assert decoded(encode(gray), 2)[..., 1].min() == 255


def _saved(picture: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG", **options)
    return stream.getvalue()


def test_every_pixel_format_becomes_eight_bits() -> None:
    deep = np.array([[0, 257 * 7], [65535, 32768]], np.uint16)
    assert decoded(_saved(Image.fromarray(deep)), 1)[..., 0].tolist() == [[0, 7], [255, 128]]
    bits = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1")
    assert decoded(_saved(bits), 1)[..., 0].tolist() == [[0, 255], [255, 0]]
    palette = Image.new("P", (1, 1))
    palette.putpalette([10, 20, 30])
    assert decode_picture(_saved(palette)).mode == "RGB"
    assert decoded(_saved(palette), 3).tolist() == [[[10, 20, 30]]]
    assert decode_picture(_saved(palette, transparency=0)).mode == "RGBA"
    stream = io.BytesIO()
    Image.new("CMYK", (2, 2), (0, 0, 0, 0)).save(stream, "JPEG")
    assert decoded(stream.getvalue(), 3).min() >= 250


@pytest.mark.parametrize("cut", [1, 20, 40, 60, 100, 150])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_damaged_pictures_raise_only_unreadable_error(form: str, cut: int) -> None:
    data = encode(random_pixels(1, side=16)[0], form)
    with pytest.raises(UnreadableError):
        decode_picture(data[:cut])


def test_flipped_bytes_raise_only_unreadable_error() -> None:
    random = np.random.default_rng(0)
    for form in ("PNG", "JPEG", "WEBP"):
        whole = np.frombuffer(encode(random_pixels(1, side=16)[0], form), np.uint8)
        for _ in range(200):
            damaged = whole.copy()
            damaged[random.integers(0, len(whole), 4)] = random.integers(0, 256, 4)
            with contextlib.suppress(UnreadableError):
                assert decode_picture(damaged.tobytes()).mode in ("L", "LA", "RGB", "RGBA")


def test_the_digest_depends_on_contents_names_and_form_not_on_the_folder(tmp_path: Path) -> None:
    pixels = random_pixels(6)
    first = config(write_folder(tmp_path / "one", pixels, list("ababab"))).load(None)
    same = config(write_folder(tmp_path / "two", pixels, list("ababab"))).load(None)
    assert first.sha256() == same.sha256()
    smaller = config(tmp_path / "two", size=4).load(None)
    renamed = config(write_folder(tmp_path / "three", pixels, list("acacac"))).load(None)
    file = tmp_path / "two" / "a" / "0002.png"
    file.write_bytes(encode(255 - pixels[2]))
    changed = config(tmp_path / "two").load(None)
    assert len({item.sha256() for item in (first, smaller, renamed, changed)}) == 4


def test_unchanged_files_are_decoded_for_inspection_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, random_pixels(6))
    looked_at: list[int] = []

    def facts(picture: Image.Image) -> PictureFacts:
        looked_at.append(picture.width)
        return picture_facts(picture)

    monkeypatch.setattr("ganserve_training.data.storage.encoded_store.picture_facts", facts)
    before = load_split(config(tmp_path), "train").sha256()
    load_split(config(tmp_path, flip=True), "held_out")
    assert len(looked_at) == 6
    (tmp_path / "0000.png").write_bytes(encode(random_pixels(1, seed=5)[0]))
    assert load_split(config(tmp_path), "train").sha256() != before
    assert len(looked_at) == 12
