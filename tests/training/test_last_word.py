"""The end of findings, and the last word about a run."""

import io
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ganserve_training import evaluate_run, train
from ganserve_training.config import DiagnosisConfig
from ganserve_training.diagnosis import KINDS, Finding, Kind
from ganserve_training.diagnosis import monitor as monitor_module
from ganserve_training.diagnosis.last_word import LastWord, episodes, last_word, read_last_word
from ganserve_training.diagnosis.recovery import recovery
from ganserve_training.errors import DataError
from ganserve_training.evaluation.options import EvaluationOptions
from ganserve_training.evaluation.quality import Quality
from ganserve_training.run.logs import read_log
from ganserve_training.run.run_folder import RunFolder
from observations import HEALTHY, history
from tiny_runs import tiny_config

LOOKS = [look.to_dict() for look in history(7, precision=0.97, recall=0.9)]


def begin(kind: Kind, step: int) -> Finding:
    return Finding(step=step, kind=kind, message="Bad.", advice="Try this.")


def end(kind: Kind, step: int) -> Finding:
    return Finding(step=step, kind=kind, message="Good.", advice="", over=True)


@pytest.mark.parametrize(
    ("findings", "healthy", "sentence"),
    [
        ([], True, "Ends healthy."),
        (
            [begin("mode-collapse", 600), end("mode-collapse", 1400)],
            True,
            "Ends healthy; mode collapse from step 600 to 1,400.",
        ),
        ([begin("mode-collapse", 600)], False, "Ends in mode collapse since step 600."),
        (
            [begin("decline", 400), begin("divergence", 900), begin("divergence", 950)],
            False,
            "Ends diverged since step 900 and in decline since step 400.",
        ),
        (
            [begin("oscillation", 200), end("oscillation", 800), begin("oscillation", 1000)],
            False,
            "Ends oscillating since step 1,000; oscillation from step 200 to 800.",
        ),
        ([begin("convergence", 900)], True, "Ends healthy, converged since step 900."),
        ([begin("convergence", 900), end("convergence", 1200)], True, "Ends healthy."),
    ],
)
def test_a_run_has_a_last_word(findings: list[Finding], healthy: bool, sentence: str) -> None:
    assert last_word(1500, LOOKS, findings) == LastWord(step=1500, healthy=healthy, sentence=sentence)


def test_every_trouble_has_words_for_its_end_and_for_the_run_s() -> None:
    for kind in KINDS:
        assert recovery(kind, HEALTHY).endswith(".")
        word = last_word(1500, LOOKS, [begin(kind, 600)])
        assert word.healthy == (kind == "convergence")
        assert "since step 600" in word.sentence


@pytest.mark.parametrize(
    ("shares", "sentence"),
    [
        ({"recall": [0.1, 0.2, 0.3, 0.4, 0.57, 0.9, 0.58]}, "Ends healthy, with 58% of the recall of real samples."),
        ({"precision": 0.84, "recall": 0.5}, "Ends healthy, with 84% of the precision and 50% of the recall of real"),
        ({"precision": 0.86, "recall": 1.2}, "Ends healthy."),
        ({"precision": None, "recall": math.nan}, "Ends healthy."),
        ({"precision": 0.05, "recall": 0.0}, "Ends with 5% of the precision and 0% of the recall of real samples."),
    ],
)
def test_the_last_word_says_what_samples_lack(shares: dict[str, Any], sentence: str) -> None:
    looks = [look.to_dict() for look in history(7, **shares)]
    assert last_word(1500, looks, []).sentence.startswith(sentence)
    assert "real samples" not in last_word(1500, looks, [begin("mode-collapse", 600)]).sentence  # which says it


def test_samples_far_from_real_ones_are_not_healthy() -> None:
    looks = [look.to_dict() for look in history(7, precision=0.05)]
    assert last_word(1500, looks, []).healthy is False
    young = last_word(100, looks, [], ended=False)
    assert (young.healthy, young.sentence) == (None, "So far with 5% of the precision of real samples.")


def test_a_run_that_was_not_watched_for_long_has_no_verdict() -> None:
    assert last_word(300, LOOKS[:1], []).healthy is None
    assert last_word(300, LOOKS[:1], []).sentence == "Ends unjudged: the monitor looked once, and needs 3 looks."
    assert last_word(700, LOOKS[:5], [begin("mode-collapse", 600)], ended=False).sentence == (
        "So far in mode collapse since step 600."
    )


def test_episodes_join_each_begin_with_its_end() -> None:
    told = [begin("decline", 2), begin("oscillation", 3), end("decline", 6), begin("decline", 9)]
    spans = [(item.finding.kind, item.span) for item in episodes(told)]
    assert spans == [
        ("decline", "from step 2 to 6"),
        ("oscillation", "since step 3"),
        ("decline", "since step 9"),
    ]


@pytest.fixture
def swinging(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real loop with a quality that is good, bad from step 10 on, and good again from step 20 on."""

    def measure(observer: Any, *_: Any) -> Quality:
        bad = 10 <= observer._trainer.step < 20
        return Quality("sliced_wasserstein", 1.0 if bad else 0.1, higher_is_better=False)

    monkeypatch.setattr(monitor_module._Observer, "_measure_quality", measure)


@pytest.mark.usefixtures("swinging")
def test_a_trouble_s_end_is_told_written_and_resumed(tmp_path: Path) -> None:
    whole, parts, said = tmp_path / "whole", tmp_path / "parts", io.StringIO()
    config = tiny_config(steps=30, diagnosis=DiagnosisConfig(every_steps=1, samples=16))
    train(config, whole, device="cpu", console=Console(file=said, width=200))
    told = [Finding(**record) for record in read_log(RunFolder(whole).diagnosis)]
    (first, last) = (item for item in told if item.kind == "decline")
    assert (first.over, last.over, last.advice) == (False, True, "")
    assert 10 < first.step < 20 <= last.step
    assert f"recovered from decline at step {last.step}: The quality is close to its best again: " in said.getvalue()
    word = json.loads((whole / "last_word.json").read_text())
    assert f"decline from step {first.step} to {last.step}" in word["sentence"]
    assert word["step"] == 30
    assert word["sentence"] in said.getvalue()

    for steps in (first.step + 1, 30):
        train(tiny_config(steps=steps, diagnosis=config.diagnosis), parts, device="cpu")
        if steps < 30:
            assert "in decline since step" in json.loads((parts / "last_word.json").read_text())["sentence"]
    assert (parts / "last_word.json").read_text() == (whole / "last_word.json").read_text()
    assert (parts / "diagnosis.jsonl").read_text() == (whole / "diagnosis.jsonl").read_text()

    evaluation = evaluate_run(whole, EvaluationOptions(metrics=("sliced-wasserstein",), samples=20))
    assert evaluation.training == word["sentence"]
    assert json.loads((whole / "metrics.json").read_text())["training"] == word["sentence"]


def test_a_run_of_an_older_version_or_one_that_still_trains_has_a_word(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert read_last_word(folder) is None
    folder.write_config(tiny_config(steps=500))
    folder.observations.write_text("".join(json.dumps({"step": step}) + "\n" for step in (100, 200, 300)))
    folder.log.write_text(json.dumps({"step": 300}) + "\n")
    finding = {name: value for name, value in asdict(begin("mode-collapse", 300)).items() if name != "over"}
    folder.diagnosis.write_text(json.dumps(finding) + "\n")
    word = read_last_word(folder)
    assert word is not None
    assert word.sentence == "So far in mode collapse since step 300."
    folder.log.write_text(json.dumps({"step": 500}) + "\n")
    ended = read_last_word(folder)
    assert ended is not None
    assert ended.sentence == "Ends in mode collapse since step 300."
    folder.last_word.write_text(json.dumps({"step": 400, "healthy": True, "sentence": "Ends healthy."}))
    assert read_last_word(folder) == ended  # A word of step 400 is not the last one.
    folder.last_word.write_text("{}")
    with pytest.raises(DataError, match=r"last_word\.json is damaged: delete it"):
        read_last_word(folder)
