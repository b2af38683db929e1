"""Evaluate packages, and use ONNX feature networks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ganserve_export import Exported, ExportError
from ganserve_export.commands import evaluate as evaluate_command
from ganserve_export.evaluation.onnx_features import onnx_features
from ganserve_export.evaluation.package_subject import package_subject
from ganserve_export.package.publishing import package_folder
from ganserve_training.data import DataInfo
from ganserve_training.evaluation.evaluate import run_subject

if TYPE_CHECKING:
    from pathlib import Path

ONLY = ("--samples", "60", "--metrics", "gan-train-test", "fid", "sliced-wasserstein", "--features", "pixels")


@pytest.fixture
def channel_means(tmp_path: Path) -> Path:
    """Write a network that computes the means of channels, for batches of exactly 4 gray images of 8 x 8."""
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["images"], ["means"])],
        "means",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [4, 1, 8, 8])],
        [helper.make_tensor_value_info("means", TensorProto.FLOAT, [4, 1, 1, 1])],
    )
    file = tmp_path / "means.onnx"
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), file)
    return file


def test_a_package_and_its_run_get_the_same_figures(
    exported: Exported, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = []
    for path in (run, exported.folder, exported.folder.parent):
        assert evaluate_command.main([str(path), *ONLY, "--json"]) == 0
        reports.append(json.loads(capsys.readouterr().out))
    of_run, of_package, of_model = reports
    assert of_package.pop("package") == str(exported.folder)
    assert of_model.pop("package") == str(exported.folder.parent)
    assert of_model == of_package
    assert of_run.pop("run") == str(run)
    for report in (of_run, of_package):
        report["metrics"] = {name: pytest.approx(value, rel=1e-3) for name, value in report["metrics"].items()}
    assert of_package["metrics"].keys() == of_run["metrics"].keys()
    assert {name: value.expected for name, value in of_package["metrics"].items()} == of_run["metrics"]
    assert {**of_package, "metrics": None} == {**of_run, "metrics": None}


def test_samples_of_a_package_are_those_of_its_run(exported: Exported, run: Path) -> None:
    package, trained = package_subject(exported.folder), run_subject(run)
    assert (package.sample_shape, package.label_names) == (trained.sample_shape, trained.label_names)
    assert package.learned_from == trained.learned_from
    labels = np.arange(300) % 10
    differences = np.abs(package.draw(labels, 300, 3).astype(int) - trained.draw(labels, 300, 3))
    assert differences.max() <= 1
    assert np.mean(differences > 0) < 0.01


def test_onnx_features_fill_batches_of_a_fixed_size(channel_means: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 16, 16, 3), np.uint8)
    features = onnx_features(channel_means, DataInfo(sample_shape=(16, 16, 3)), side_px=99, values="0..255")
    assert features.resizer == "Pillow bicubic, antialiased, to 8 x 8 pixels"
    luma = pixels.mean(axis=(1, 2)) @ [0.299, 0.587, 0.114]
    assert features.extract(pixels) == pytest.approx(luma[:, None], rel=0.02)  # Resizing hardly changes the mean.
    small = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
    exact = onnx_features(channel_means, DataInfo(sample_shape=(8, 8, 1)), side_px=None, values="0..1")
    assert exact.extract(small) == pytest.approx(small.mean(axis=(1, 2)) / 255, rel=1e-5)


def test_a_report_names_the_onnx_features(run: Path, channel_means: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--metrics", "fid", "--samples", "60", "--features", str(channel_means), "--json")
    assert evaluate_command.main([str(run), *options]) == 0
    assert json.loads(capsys.readouterr().out)["features"]["name"] == "means.onnx"


def test_errors_have_one_line(
    exported: Exported, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    options = ("--metrics", "fid", "--features", str(tmp_path / "broken.onnx"))
    assert evaluate_command.main([str(run), *options]) == 1
    assert "onnxruntime cannot load" in capsys.readouterr().err
    assert evaluate_command.main([str(tmp_path)]) == 1
    assert "holds no checkpoint" in capsys.readouterr().err
    copy = tmp_path / "1"
    copy.mkdir()
    for file in exported.folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert package_folder(tmp_path) == copy
    (copy / "generator.onnx").write_bytes((exported.folder / "critic.onnx").read_bytes())
    with pytest.raises(ExportError, match=r"generator\.onnx is not the file that the manifest names"):
        package_subject(copy)
