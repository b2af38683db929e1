"""Test that of Parquet files only those of the training part are read, in the layouts of the Hugging Face hub."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ganserve_training.config import ParquetConfig
from ganserve_training.data import Samples
from ganserve_training.errors import DataError
from image_files import encode, random_pixels

PIXELS = random_pixels(30)


def write_rows(path: Path, rows: Iterable[int], **columns: Any) -> Path:
    rows = list(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": encode(PIXELS[row]), "path": None} for row in rows]
    pq.write_table(pa.table({"image": images, "label": [row % 2 for row in rows], **columns}), path, row_group_size=4)
    return path


def load(path: Path, **changes: Any) -> Samples:
    return ParquetConfig(path=str(path), **changes).load(None)


@pytest.mark.parametrize(
    ("train", "others"),
    [
        (["default/train/0000.parquet", "default/train/0001.parquet"], ["default/test/0000.parquet"]),
        (["train.parquet"], ["test.parquet", "validation.parquet"]),
        (["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"], ["data/test-00000-of-1.parquet"]),
        (["data/train-00000-of-00001-c7a8f1d2e3b4.parquet"], ["data/valid-00000-of-00001-c7a8f1d2e3b4.parquet"]),
        (["plain_text/partial-train/0000.parquet"], ["plain_text/partial-test/0000.parquet"]),
        (["train/part.0.parquet", "train/part.1.parquet"], ["eval/part.0.parquet", "extra/part.0.parquet"]),
        (["mnist_train.parquet"], ["mnist_test.parquet"]),
        (["train.pq"], ["test.pq"]),
        (["Train/a.PARQUET"], ["Test/a.PARQUET"]),
        (["train-0.parquet"], ["statistics.parquet"]),
        (["part-0.parquet", "part-1.parquet"], []),
        (["2023/a.parquet", "2024/a.parquet"], []),
        (["train/0000.parquet"], []),
        (["test.parquet"], []),
    ],
)
def test_only_the_training_part_is_read_and_the_rest_is_told(
    tmp_path: Path, train: list[str], others: list[str]
) -> None:
    for number, name in enumerate(train):
        write_rows(tmp_path / name, range(4 * number, 4 * number + 4))
    for name in others:
        write_rows(tmp_path / name, [20, 21])
    (tmp_path / "README.md").write_text("x")
    samples = load(tmp_path)
    assert len(samples) == 4 * len(train)
    told = [str(item) for item in samples.origin.passed_over]
    assert len(told) == len(others) + 1
    assert told[-1] == "1 .md"
    for name in others:
        assert any(part in line for line in told for part in Path(name).with_suffix("").parts)
    assert train[0] in samples.origin.how


def test_several_data_sets_and_sets_without_a_training_part_are_asked_about(tmp_path: Path) -> None:
    for name in ("cropped/train/0.parquet", "cropped/test/0.parquet", "full/train/0.parquet"):
        write_rows(tmp_path / "two" / name, [0, 1])
    with pytest.raises(DataError, match=r"several data sets, cropped, full: give the path of one, .*cropped"):
        load(tmp_path / "two")
    assert len(load(tmp_path / "two" / "cropped")) == 2
    for name in ("test.parquet", "validation.parquet"):
        write_rows(tmp_path / "none" / name, [0, 1])
    with pytest.raises(DataError, match="holds only test and validation, and no train"):
        load(tmp_path / "none")
    assert len(load(tmp_path / "none" / "test.parquet")) == 2


def test_names_of_labels_without_rows_are_left_out(tmp_path: Path) -> None:
    table = pa.table({"image": [{"bytes": encode(item)} for item in PIXELS[:4]], "label": [0, 2, 2, 0]})
    names = b'{"info": {"features": {"label": {"names": ["cat", "dog", "owl"]}}}}'
    pq.write_table(table.replace_schema_metadata({b"huggingface": names}), tmp_path / "x.parquet")
    samples = load(tmp_path)
    assert samples.label_names == ("cat", "owl")
    assert [str(item) for item in samples.origin.passed_over] == ["1 declared label without samples (dog)"]
