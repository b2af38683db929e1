"""Test the report: one file about a run that loads nothing else."""

import base64
import io
import json
import math
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from ganserve_training import evaluate_run, load_split, train
from ganserve_training.commands.report import main
from ganserve_training.config import DiagnosisConfig, DigitsConfig
from ganserve_training.diagnosis import KINDS, Finding
from ganserve_training.diagnosis.last_word import last_word
from ganserve_training.evaluation.options import EvaluationOptions
from ganserve_training.evaluation.result import Evaluation
from ganserve_training.evaluation.table import Named, labels_comparison, labels_table, short_names
from ganserve_training.evaluation.verdict import Comparison
from ganserve_training.report import write_comparison, write_report
from ganserve_training.report.charts import KIND_COLOURS, _thinned, charts
from ganserve_training.report.comparison import _measures, render
from ganserve_training.report.material import MOST_PICTURES, read_run
from ganserve_training.report.parts import with_flags
from ganserve_training.run.run_folder import RunFolder
from heard_steps import HeardSteps
from tiny_runs import tiny_config

CONFIG = tiny_config(seed=3, diagnosis=DiagnosisConfig(every_steps=2, samples=32))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "a <b> & c"
    train(CONFIG, out, device="cpu", console=Console(file=io.StringIO()))
    finding = Finding(
        step=8, kind="mode-collapse", message="Only 2 < 3.", advice="For another run, try --networks.packing 2."
    )
    over = Finding(step=10, kind="mode-collapse", message="All 3.", advice="", over=True)
    folder = RunFolder(out)
    folder.diagnosis.write_text("".join(json.dumps(asdict(item)) + "\n" for item in (finding, over)))
    changes = {"optimisers.critic.learning_rate.start": 0.001}
    cure = {"step": 4, "back_to": 0, "kind": "oscillation", "message": "It swings.", "changes": changes}
    folder.cures.write_text(json.dumps(cure) + "\n")
    folder.last_word.write_text(json.dumps(last_word(12, [{}] * 6, [finding, over]).to_dict()))
    evaluate_run(out, EvaluationOptions(samples=50, metrics=("gan-train-test", "sliced-wasserstein")))
    return out


@pytest.fixture(scope="module")
def page(finished: Path) -> str:
    path = write_report(finished)
    assert path == finished / "report.html"
    return path.read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Collect the tags and text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style"):
            self.words.append(data)


@pytest.fixture(scope="module")
def parsed(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader._open == []
    return reader


def test_a_report_loads_nothing_else(parsed: Reader, page: str) -> None:
    for tag, attributes in parsed.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "srcset", "action"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#"))
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert page.count("plotly.js v") == 1


def test_a_report_contains_every_picture_and_shows_the_last(parsed: Reader, finished: Path) -> None:
    images = [attributes for tag, attributes in parsed.tags if tag == "img"]
    assert [image["alt"] for image in images] == ["samples at step 6", "samples at step 12", "real samples"]
    assert ["hidden" in image for image in images] == [True, False, False]
    source = images[1]["src"]
    assert source is not None
    written = (finished / "samples" / "step-00000012.png").read_bytes()
    assert base64.b64decode(source.partition(",")[2]) == written
    (slider,) = (attributes for tag, attributes in parsed.tags if tag == "input")
    assert (slider["type"], slider["min"], slider["max"], slider["value"]) == ("range", "0", "1", "1")
    text = " ".join(parsed.words)
    assert "One row per label" in text
    assert re.search(r"0 1 2 3 4 5 6 7 8 9", text)


def test_a_report_has_state_findings_metrics_and_changed_options(parsed: Reader) -> None:
    text = " ".join(" ".join(parsed.words).split())
    for part in (
        "a <b> & c",
        "step 12 of 12, finished",
        "Ends healthy; mode collapse from step 8 to 10.",
        "mode collapse from step 8 to 10",
        "Only 2 < 3.",
        "Over at step 10: All 3.",
        "healing: oscillation at step 4. Going on from the start with --optimisers.critic.learning-rate.start 0.001 .",
        "For another run, try --networks.packing 2 .",
        "50 samples of the checkpoint of step 12. Poor: ",
        "By label label GAN-test GAN-train judge's accuracy 0 ",
        "reference: digits, 1,437 training and 360 held-out samples",
        "--seed 0 3",
        "--networks.latent-dim 32 8",
        "loss.name 'relativistic-pairing'",
        "torch 2.",
    ):
        assert part in text, part
    assert "data.held_out_fraction 0.2 0.2" not in text


def test_the_curves_show_the_runs_numbers_and_findings(finished: Path) -> None:
    run = read_run(RunFolder(finished))
    made = {chart.title: chart.figure for chart in charts(run)}
    assert list(made) == [
        *("Losses", "Critic accuracy", "Diversity", "Precision and recall", "Scores", "Gradients"),
        "Quality: sliced wasserstein",
    ]
    losses = {line.name: line for line in made["Losses"].data}
    assert list(losses["critic"].x) == [3, 6, 9, 12]
    assert list(losses["critic"].y) == [pytest.approx(record["critic_loss"], rel=1e-4) for record in run.log]
    accuracy = {line.name: line for line in made["Critic accuracy"].data}
    assert list(accuracy["held-out samples"].y) == [
        pytest.approx(item.held_out_accuracy, rel=1e-4) for item in run.observations
    ]
    best = made["Quality: sliced wasserstein"].data[-1]
    assert best.y[0] == min(item.quality or 0.0 for item in run.observations)
    for figure in made.values():
        (mark,) = figure.layout.annotations
        assert (mark.x, mark.text, mark.bgcolor) == (8, "<b>1</b>", KIND_COLOURS["mode-collapse"])
        (band,) = (shape for shape in figure.layout.shapes if shape.type == "rect")
        assert (band.x0, band.x1, band.fillcolor) == (8, 10, KIND_COLOURS["mode-collapse"])
    assert set(KIND_COLOURS) == set(KINDS)


def test_real_samples_stand_beside_generated_ones_in_the_same_rows(finished: Path) -> None:
    with (
        Image.open(RunFolder(finished).real_samples) as real,
        Image.open(finished / "samples" / "step-00000012.png") as made,
    ):
        assert real.size == made.size
        rows = np.asarray(real)[2:].reshape(10, -1, real.width)
    train_images = load_split(CONFIG.data, "train")
    assert train_images.labels is not None
    width = 10 * 50 + 2  # of ten samples, which stand at the right of the rows' names
    for label, row in enumerate(rows):
        tile = row[:48:6, 2 - width : 50 - width : 6].tobytes()
        of_label = train_images.read(np.flatnonzero(train_images.labels == label))
        assert tile in {image.tobytes() for image in of_label}


def test_several_runs_stand_side_by_side(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    train(replace(CONFIG, seed=4, batch_size=32), other, device="cpu", console=Console(file=io.StringIO()))
    monkeypatch.chdir(tmp_path)
    assert main([str(finished), str(other), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["runs"], facts["report"]) == ([str(finished), str(other)], "comparison.html")
    text = Path("comparison.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader._open == []
    words = " ".join(" ".join(reader.words).split())
    for part in (
        "2 runs",
        "Ends healthy; mode collapse from step 8 to 10.",
        "Not evaluated yet, by ganserve evaluate: other.",
        "option a <b> & c other",
        "Those that differ. As they were asked for: a <b> & c changed some by healing.",
        "batch_size 16 32",
        "seed 3 4",
    ):
        assert part in words, part
    assert "steps 12" not in words
    images = [attributes["alt"] for tag, attributes in reader.tags if tag == "img"]
    assert images == ["real samples", "samples of a <b> & c at step 12", "samples of other at step 12"]
    runs = [read_run(RunFolder(path)) for path in (finished, other)]
    elsewhere = replace(runs[1], config=replace(runs[1].config, data=DigitsConfig(split_seed=9)))
    captions = re.findall("<figcaption>(real.*?)</figcaption>", render([runs[0], elsewhere]))
    assert captions == ["real, for a &lt;b&gt; &amp; c", "real, for other"]
    curves = {title: [values(run) for run in runs] for title, _, values, _ in _measures(runs)}
    assert list(curves) == [
        *("Quality: sliced wasserstein", "Diversity", "Precision", "Recall", "Regions reached", "Critic accuracy"),
        *("Loss of the critic", "Loss of the generator"),
    ]
    assert curves["Diversity"] == [[(item.step, item.diversity) for item in run.observations] for run in runs]
    same = write_comparison([other, other]).read_text(encoding="utf-8")
    assert same.count(f"<h3>{other} <small>") == 2  # names that are alike become paths
    assert curves["Loss of the critic"][1] == [(record["step"], record["critic_loss"]) for record in runs[1].log]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/data/project/runs/a", "/data/project/runs/b"], ["a", "b"]),
        (["runs/a/1", "runs/b/1"], ["a/1", "b/1"]),
        (["runs/a", "models/c/2"], ["runs/a", "models/c/2"]),
        (["runs/a", "runs/a"], ["runs/a", "runs/a"]),
        (["runs/a"], ["runs/a"]),
        (["/one/a", "b"], ["/one/a", "b"]),
    ],
)
def test_names_of_models_in_columns_have_no_folders_in_common(paths: list[str], names: list[str]) -> None:
    assert short_names(list(map(Path, paths))) == names


def test_labels_of_several_runs_are_compared() -> None:
    def named(name: str, values: tuple[float, ...], labels: tuple[str, ...] = ("cat", "dog")) -> Named:
        by_label = {"gan_test": (1.0, 1.0), "gan_train": values, "judge_accuracy": (1.0, 0.9)}
        compared = {"gan_train": Comparison(model=0.5, real=0.95, worst=0.5, likeness=0.0, verdict="poor")}
        metrics = {"gan_test": 1.0, "gan_train": 0.5, "judge_accuracy": 0.95}
        known = evaluation_of(labels, metrics, by_label, compared)
        return Named(name, known)

    table = labels_comparison([named("a", (1.0, 0.5)), named("b", (0.8, math.nan))])
    assert table is not None
    assert table.head == ("label", "a", "b")
    assert [[(cell.text, cell.verdict) for cell in row] for row in table.rows] == [
        [("cat", None), ("1.000", "good"), ("0.800", "fair")],
        [("dog", None), ("0.500", "poor"), ("-", None)],
    ]
    assert labels_comparison([named("a", (1.0, 0.5)), named("b", (1.0, 0.5), ("cat", "cow"))]) is None
    lowest = labels_table(named("a", (1.0, 0.5)).evaluation, most=1)
    assert [row[0].text for row in lowest.rows] == ["dog"]


def evaluation_of(
    labels: tuple[str, ...],
    metrics: dict[str, float],
    by_label: dict[str, tuple[float, ...]],
    compared: dict[str, Comparison],
) -> Evaluation:
    return Evaluation(
        step=1,
        checkpoint_sha256="",
        samples=10,
        seed=0,
        data="digits",
        real_samples=10,
        held_out_samples=30,
        reference_sha256="",
        features=None,
        label_names=labels,
        metrics=metrics,
        by_label=by_label,
        beside_real=compared,
    )


def test_long_curves_are_thinned_by_means() -> None:
    points = [(float(step), float(step % 2)) for step in range(4800)]
    thin = _thinned(points)
    assert len(thin) == 1200
    assert thin[0] == (1.5, 0.5)
    assert _thinned(points[:1200]) == points[:1200]


def test_many_pictures_are_thinned_and_counted(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_config(CONFIG)
    folder.samples.mkdir()
    for step in range(1, 201):
        Image.new("L", (2, 2)).save(folder.samples / f"step-{step:08d}.png")
    run = read_run(folder)
    assert (len(run.pictures), run.picture_count) == (MOST_PICTURES, 200)
    assert (run.pictures[0][0], run.pictures[-1][0]) == (1, 200)
    assert "60 of 200 pictures are shown" in write_report(tmp_path).read_text(encoding="utf-8")


def test_a_report_of_a_run_without_a_checkpoint(tmp_path: Path) -> None:
    RunFolder(tmp_path).write_config(replace(CONFIG, diagnosis=DiagnosisConfig(enabled=False)))
    steps = HeardSteps()
    text = write_report(tmp_path, tmp_path / "pages" / "early.html", steps=steps).read_text(encoding="utf-8")
    assert steps.words == ["reading the run", "drawing the page"]
    assert "step 0 of 12" in text
    assert "Switched off for this run" in text
    assert "Not evaluated yet" in text


def test_flags_and_their_values_are_highlighted() -> None:
    assert with_flags("try --loss.name modified-minimax, which <b>, or (--networks.packing 2).") == (
        "try <code>--loss.name modified-minimax</code>, which &lt;b&gt;, or (<code>--networks.packing 2</code>)."
    )
    assert with_flags("--a.b 0.3.") == "<code>--a.b 0.3</code>."
    assert with_flags("(--a.b 1.5e-05 --c.d 5e+08)") == "(<code>--a.b 1.5e-05</code> <code>--c.d 5e+08</code>)"


def test_the_command_prints_the_path_and_errors(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page.html"
    assert main([str(finished), "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: ")
    assert main([str(tmp_path / "nothing")]) == 2
    assert "nothing: no such folder. Give a run's, such as runs/digits." in capsys.readouterr().err
    written = (finished / "metrics.json").read_text()
    for damaged in ("{", "", "[]", "{}", '{"step": 1}'):
        (finished / "metrics.json").write_text(damaged)
        assert main([str(finished)]) == 1
        assert "metrics.json: can't be read as an evaluation" in capsys.readouterr().err
    (finished / "metrics.json").write_text(written)
    (tmp_path / "config.json").write_text("[]")
    assert main([str(tmp_path)]) == 2
