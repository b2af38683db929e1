"""Test `ganserve score-bulk`: the scores of pictures, tables and archives, and what it says about bad ones."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from commands import ganserve, said
from tiny_packages import CONDITIONAL, VECTOR, build_tiny_package

if TYPE_CHECKING:
    from pathlib import Path


def scores(repository: Path, files: object, out: Path, *words: object, model: str = "tiny") -> list[dict[str, Any]]:
    said("score-bulk", files, "--models", repository, "--model", model, "--out", out, *words)
    rows: list[dict[str, Any]] = pq.read_table(out).to_pylist()
    return rows


def refusal(repository: Path, files: object, out: Path, *words: object, model: str = "tiny", code: int = 2) -> str:
    done = ganserve("score-bulk", files, "--models", repository, "--model", model, "--out", out, *words)
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("ganserve score-bulk: error: ").strip()


@pytest.mark.parametrize(
    ("form", "encoding"),
    [("parquet", "png"), ("parquet", "raw"), ("webdataset", "png"), ("webdataset", "raw"), ("png", "png")],
)
def test_what_generate_writes_has_the_scores_that_it_wrote(
    repository: Path, tmp_path: Path, form: str, encoding: str
) -> None:
    words = ("generate", "--models", repository, "--model", "tiny", "--seed", 5, "--scores", "-n", 50, "--out")
    said(*words, tmp_path / "table")
    drawn = pq.read_table(tmp_path / "table").to_pylist()
    said(*words, tmp_path / "in", "--shard-size", 20, "--format", form, "--encoding", encoding)
    found = scores(repository, tmp_path / "in", tmp_path / "out")
    for name in ("label", "score", "probability"):
        assert [row[name] for row in found] == [row[name] for row in drawn], name
    assert {row["error"] for row in found} == {None}
    assert len({row["name"] for row in found}) == 50


def test_vectors(repository: Path, tmp_path: Path) -> None:
    vectors = np.linspace(-1, 1, 20, dtype=np.float32).reshape(10, 2)
    vectors[3, 1] = np.nan
    table = pa.table({"sample": vectors.tolist()})
    pq.write_table(table, tmp_path / "vectors.parquet")
    found = scores(repository, tmp_path / "vectors.parquet", tmp_path / "out", model="tiny-vector")
    good = np.delete(np.arange(10), 3)
    assert [found[i]["score"] for i in good] == VECTOR.scores(vectors[good]).tolist()
    assert found[3]["score"] is None
    assert found[3]["error"] == "has values that are not finite numbers"


def picture(seed: int, size: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 1), np.uint8)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0]).save(file, "PNG")
    return file.getvalue()


def test_bad_pictures_do_not_stop_the_others(repository: Path, tmp_path: Path) -> None:
    """Folders name the labels; hidden files and other endings are passed over."""
    for label, name, content in [
        ("one", "a.png", png(picture(0))),
        ("one", "b.png", b""),
        ("one", "c.jpg", b"not a picture"),
        ("two", "d.png", png(picture(1))[:60]),
        ("two", "e.png", png(picture(2, size=9))),
        ("two", "f.PNG", png(picture(3))),
        ("two", ".g.png", png(picture(4))),
        ("two", "readme.txt", b"hello"),
    ]:
        (tmp_path / "in" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / label / name).write_bytes(content)
    found = {row["name"]: row for row in scores(repository, tmp_path / "in", tmp_path / "out")}
    assert list(found) == ["one/a.png", "one/b.png", "one/c.jpg", "two/d.png", "two/e.png", "two/f.PNG"]
    for name, seed, label in (("one/a.png", 0, 1), ("two/f.PNG", 3, 2)):
        assert found[name]["label"] == label
        assert found[name]["score"] == CONDITIONAL.scores(picture(seed)[None], np.array([label]))[0]
    errors = {name: row["error"] for name, row in found.items() if row["error"]}
    assert errors["one/b.png"] == "is empty"
    assert errors["one/c.jpg"] == "is not a PNG, JPEG or WebP file"
    assert errors["two/e.png"].startswith("is 9 x 9 pixels; expected 8 x 8")
    assert "two/d.png" in errors
    assert all(found[name]["score"] is None for name in errors)
    words = ("score-bulk", tmp_path / "in", "--models", repository, "--model", "tiny", "--out", tmp_path / "out")
    told = ganserve(*words).stderr
    assert told == "ganserve score-bulk: 4 of 6 samples have no score: the column error says why\n"


def test_links_to_folders_are_followed_once(repository: Path, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "in", tmp_path / "elsewhere"
    for number, place in enumerate((folder / "two", elsewhere / "inner")):
        place.mkdir(parents=True)
        (place / "a.png").write_bytes(png(picture(number)))
    for link, target in (("one", elsewhere), ("a-two", folder / "two"), ("zero", elsewhere / "inner"), ("up", folder)):
        (folder / link).symlink_to(target)
    (elsewhere / "inner" / "back").symlink_to(folder)
    found = scores(repository, folder, tmp_path / "out", "--label", "one")
    assert [row["name"] for row in found] == ["one/inner/a.png", "two/a.png"]


def test_one_label_for_all_and_typicality(tmp_path: Path) -> None:
    build_tiny_package(tmp_path / "models", typicality=True)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(png(np.full((8, 8, 1), 255, np.uint8)))
    (tmp_path / "in" / "b.png").write_bytes(png(np.zeros((8, 8, 1), np.uint8)))
    found = scores(tmp_path / "models", tmp_path / "in", tmp_path / "out", "--label", "two")
    assert [row["label"] for row in found] == [2, 2]
    assert [row["typicality"] for row in found] == [0.0, 1.0]
    assert [row["out_of_distribution"] for row in found] == [True, False]


def test_labels_of_tables_and_archives_by_name(repository: Path, tmp_path: Path) -> None:
    files = [png(picture(i)) for i in range(2)]
    pq.write_table(pa.table({"image": files, "label": ["two", "zero"]}), tmp_path / "t.parquet")
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        for name, content in (("x.png", files[0]), ("x.cls", b"two"), ("y.png", files[1]), ("y.cls", b"0\n")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    for ending in ("parquet", "tar"):
        found = scores(repository, tmp_path / f"t.{ending}", tmp_path / ending)
        assert [row["label"] for row in found] == [2, 0]


def test_refusals(repository: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    assert "has no files to score" in refusal(repository, folder, out)
    assert "No such file or directory" in refusal(repository, tmp_path / "nowhere", out)
    (folder / "broken.png").symlink_to("nowhere")
    assert f"FILES {folder}/broken.png: No such file or directory." in refusal(repository, folder, out)
    (folder / "broken.png").unlink()
    (tmp_path / "cut.parquet").write_bytes(b"PAR1" + bytes(100))
    assert "this is not a parquet file. Give files that can be read." in refusal(
        repository, tmp_path / "cut.parquet", tmp_path / "of-cut", code=1
    )
    (folder / "a.png").write_bytes(png(picture(0)))
    assert "has no label; model 'tiny' scores by label" in refusal(repository, folder, out)
    assert "--label x: not a label" in refusal(repository, folder, out, "--label", "x")
    assert "has no critic" in refusal(repository, folder, out, model="tiny-uncritical")
    scores(repository, folder, out, "--label", "one")
    assert "label one (now two)" in refusal(repository, folder, out, "--label", "two")
    assert "kind score (now generate)." in ganserve("generate", "--demo", "-n", 1, "--out", out).stderr
    (folder / "b.png").write_bytes(png(picture(1)))
    assert "files_sha256 " in refusal(repository, folder, out, "--label", "one")
    pq.write_table(pa.table({"x": [1]}), folder / "t.parquet")
    assert "has several kinds of files, pictures and parquet" in refusal(repository, folder, tmp_path / "o2")
    assert "has no column image or sample, only x" in refusal(repository, folder / "t.parquet", tmp_path / "o3")
    (folder / "t.tar").write_bytes(b"no archive")
    assert "in/t.tar: " in refusal(repository, folder / "t.tar", tmp_path / "o4", code=1)
