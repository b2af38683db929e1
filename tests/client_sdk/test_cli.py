"""Test the SDK's commands with a real server."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commands import GANSERVE, ganserve
from ganserve import BestOf, Client, Rejection
from ganserve._commands import commands
from server_process import running_server
from tiny_packages import TinyModel, build_tiny_package


class Shell:
    """Run the command line in a folder, with the server's address in the environment."""

    def __init__(self, folder: Path, target: str) -> None:
        self.folder, self.target = folder, target

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        environment = {"GANSERVE_TARGET": self.target, "COLUMNS": "100", **environment}
        return ganserve(*arguments, folder=self.folder, **environment)

    def ok(self, *arguments: str) -> str:
        done = self(*arguments)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    def refused(self, code: int, *arguments: str) -> str:
        """Return the only line of an error."""
        done = self(*arguments)
        assert done.returncode == code, (done.stdout, done.stderr)
        assert done.stdout == ""
        assert done.stderr.startswith(f"ganserve {arguments[0]}: error: ")
        assert done.stderr.count("\n") == 1
        return done.stderr.strip().partition(": error: ")[2]


@pytest.fixture
def shell(tmp_path: Path, server: str) -> Shell:
    return Shell(tmp_path, server)


def test_the_installed_command_lists_the_commands() -> None:
    done = subprocess.run([GANSERVE, "--help"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    names = ("sample", "score", "models", "bench", "serve", "train", "evaluate", "report", "export-onnx", "package")
    for name in (*names, "doctor", "completion"):
        assert f"\n  {name} " in done.stdout
    assert "examples:" in done.stdout
    assert "Exit codes:" in done.stdout


def test_no_command_and_unknown_commands(shell: Shell) -> None:
    done = shell()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ganserve")
    done = shell("smaple")
    assert (done.returncode, done.stderr) == (
        2,
        "ganserve: error: smaple: no such command. Did you mean sample?\n",
    )
    done = shell("--target", "x")
    assert done.returncode == 2
    assert done.stderr.startswith("ganserve: error: --target: no such option. ")


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_help_has_examples(shell: Shell, command: str) -> None:
    help_text = shell.ok(command, "--help")
    assert help_text.startswith(f"usage: ganserve {command}")
    assert re.search(rf"^examples:\n(?:  # .*\n)*  .*\bganserve {command}\b", help_text, re.MULTILINE)
    # An argument without a flag is described by its text.
    assert not re.search(r"default: (None|False|\)|\(\))|\{None\}|\bNone:", help_text)
    # Use the imperative everywhere: Draw, not Draws.
    first_words = re.findall(r"^(?:  --[a-z-]+ {2,})?([A-Z]\w+s) ", help_text, re.MULTILINE)
    assert not {
        "Asks",
        "Checks",
        "Draws",
        "Lets",
        "Lists",
        "Prints",
        "Puts",
        "Runs",
        "Scores",
        "Serves",
        "Sets",
        "Writes",
    } & set(first_words)


@pytest.mark.parametrize("command", ["sample", "score", "models", "doctor"])
def test_help_with_examples(shell: Shell, command: str) -> None:
    help_text = shell.ok(command, "--help")
    assert help_text.startswith(f"usage: ganserve {command}")
    assert re.search(rf"\nexamples:\n(?:  # .*\n)*  ganserve {command}\b", help_text)
    assert "--target HOST:PORT" in help_text
    assert "default: None" not in help_text


def test_unknown_options(shell: Shell) -> None:
    done = shell("models", "--nonsense")
    assert done.returncode == 2
    assert "--nonsense" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_picture_and_its_scores(shell: Shell) -> None:
    said = shell.ok("sample", "-n", "20", "--model", "tiny", "--seed", "5", "--scores", "--out", "grid.png")
    assert said.startswith("20 samples (image uint8 [8, 8, 1]) of tiny version 2 in ")
    assert said.splitlines()[0].endswith(" s -> grid.png")
    assert "the same again: --seed 5\n" in said
    assert "critic: mean score" in said
    with Client(shell.target) as client:
        drawn = client.sample(20, model="tiny", seed=5, return_scores=True)
    (facts,) = json.loads(shell.ok("score", "grid.png", "--json"))
    assert (facts["file"], facts["model"], facts["version"]) == ("grid.png", "tiny", 2)
    assert facts["labels"] == list(drawn.label_names or ())
    np.testing.assert_array_equal(np.array(facts["scores"], np.float32), drawn.scores)
    np.testing.assert_array_equal(np.array(facts["probabilities"], np.float32), drawn.probabilities)
    table = shell.ok("score", "grid.png").splitlines()
    header = ["file", "label", "samples", "score", "lowest", "highest", "probability", "unlike", "critic"]
    assert table[0].split() == header
    assert [line.split()[1] for line in table[1:]] == sorted(set(drawn.label_names or ()))
    assert sum(int(line.split()[2]) for line in table[1:]) == 20


def test_a_picture_with_captions_has_the_same_scores(shell: Shell) -> None:
    words = ("-n", "6", "--model", "tiny", "--seed", "5", "--scores", "--scale", "3")
    shell.ok("sample", *words, "--out", "plain.png")
    shell.ok("sample", *words, "--captions", "--out", "captions.png")
    plain, captions = (json.loads(shell.ok("score", name, "--json"))[0] for name in ("plain.png", "captions.png"))
    assert {**captions, "file": ""} == {**plain, "file": ""}
    assert (shell.folder / "captions.png").read_bytes() != (shell.folder / "plain.png").read_bytes()


@pytest.mark.parametrize("label", ["two", "2"])
def test_a_folder_of_pictures(shell: Shell, label: str) -> None:
    shell.ok("sample", "-n", "3", "--model", "tiny", "--label", label, "--seed", "5", "--offset", "7", "-o", "new/")
    with Client(shell.target) as client:
        drawn = client.sample(3, "two", model="tiny", seed=5, offset=7, return_scores=True)
    files = sorted((shell.folder / "new").iterdir())
    assert [file.name for file in files] == ["000007-two.png", "000008-two.png", "000009-two.png"]
    np.testing.assert_array_equal(np.stack([np.asarray(Image.open(file)) for file in files]), drawn.images[..., 0])
    facts = json.loads(shell.ok("score", "new", "--json"))
    assert [fact["file"] for fact in facts] == [str(file.relative_to(shell.folder)) for file in files]
    np.testing.assert_array_equal(np.array([fact["scores"][0] for fact in facts], np.float32), drawn.scores)
    (fact,) = json.loads(
        shell.ok("score", "new/000007-two.png", "--label", label, "--json")
    )  # the file's model applies
    assert (fact["model"], fact["scores"]) == ("tiny", facts[0]["scores"])


def test_an_archive(shell: Shell) -> None:
    facts = json.loads(
        shell.ok("sample", "-n", "5000", "--model", "tiny-vector", "--seed", "1", "--out", "x.npz", "--json")
    )
    with np.load(shell.folder / "x.npz") as archive:
        assert archive["samples"].shape == (5000, 2)
        np.testing.assert_array_equal(np.array(facts["samples"], np.float32), archive["samples"])
    assert (facts["count"], facts["seed"], facts["out"], facts["labels"]) == (5000, 1, "x.npz", None)


def test_vectors_in_files_of_numbers(shell: Shell) -> None:
    at = ("sample", "-n", "300", "--model", "tiny-vector", "--seed", "1", "--out")
    for name in ("x.npz", "x.npy", "x.csv"):
        assert shell.ok(*at, name).splitlines()[0].endswith(f" s -> {name}")
    with Client(shell.target) as client:
        drawn = client.sample(300, model="tiny-vector", seed=1, return_scores=True)
    np.testing.assert_array_equal(np.load(shell.folder / "x.npy"), drawn.samples)
    header, *rows = (shell.folder / "x.csv").read_text().splitlines()
    assert header == "x0,x1"
    np.testing.assert_array_equal(np.array([row.split(",") for row in rows], np.float32), drawn.samples)
    for name in ("x.npz", "x.npy", "x.csv"):
        model = () if name == "x.npz" else ("--model", "tiny-vector")  # an archive names its model
        (facts,) = json.loads(shell.ok("score", name, *model, "--json"))
        np.testing.assert_array_equal(np.array(facts["scores"], np.float32), drawn.scores)


def test_controls(shell: Shell) -> None:
    said = shell.ok("sample", "-n", "50", "--model", "tiny-codes", "--control", "c0=0.5", "--seed", "1", "-o", "x.npy")
    assert " of tiny-codes version 1 with c0=0.5 in " in said
    with Client(shell.target) as client:
        drawn = client.sample(50, model="tiny-codes", seed=1, controls={"c0": 0.5})
    np.testing.assert_array_equal(np.load(shell.folder / "x.npy"), drawn.samples)


def test_the_critic_selects_samples(shell: Shell) -> None:
    at = ("sample", "-n", "6", "--model", "tiny", "--seed", "3", "--encoding", "png", "-o", "x.npy")
    with Client(shell.target) as client:
        for words, select in (("best-of:4", BestOf(4)), ("rejection:9", Rejection(max_proposals=9))):
            said = shell.ok(*at, "--select", words)
            drawn = client.sample(6, model="tiny", seed=3, select=select)
            np.testing.assert_array_equal(np.load(shell.folder / "x.npy"), drawn.samples)
            assert drawn.selection is not None
            assert f"critic: chose among {drawn.selection.proposed} samples; " in said
    facts = json.loads(shell.ok(*at, "--select", "best-of:4", "--json"))
    assert facts["selection"]["proposed"] == 24


def test_a_walk(shell: Shell) -> None:
    said = shell.ok("sample", "--count", "5", "--model", "tiny", "--seed", "3", "--walk-to", "8", "-o", "walk.npy")
    assert "the same again: --seed 3 --walk-to 8\n" in said
    with Client(shell.target) as client:
        drawn = client.interpolate(3, 8, 5, model="tiny")
    np.testing.assert_array_equal(np.load(shell.folder / "walk.npy"), drawn.samples)


def test_images_as_floats(shell: Shell) -> None:
    facts = json.loads(
        shell.ok("sample", "-n", "2", "--model", "tiny", "--encoding", "float32", "-o", "x.npy", "--json")
    )
    assert np.load(shell.folder / "x.npy").dtype == np.float32
    assert "samples" not in facts
    said = shell.ok("sample", "-n", "2", "--model", "tiny", "--encoding", "float32", "--scores", "-o", "x.npz")
    assert said.startswith("2 samples (image float32 [8, 8, 1]) of tiny")
    drawn, scored = (np.load(shell.folder / "x.npz")["scores"], json.loads(shell.ok("score", "x.npz", "--json")))
    np.testing.assert_array_equal(np.array(scored[0]["scores"], np.float32), drawn)


def test_a_summary_is_printed_without_files(shell: Shell) -> None:
    facts = json.loads(
        shell.ok("sample", "-n", "4", "--model", "tiny", "--version", "1", "--truncation", "0.5", "--scores", "--json")
    )
    assert (facts["model"], facts["version"], facts["count"], facts["out"]) == ("tiny", 1, 4, None)
    assert len(facts["labels"]) == len(facts["scores"]) == len(facts["probabilities"]) == 4
    assert "samples" not in facts
    with Client(shell.target) as client:
        batch = client.sample(4, model="tiny", version=1, truncation=0.5, seed=facts["seed"], return_scores=True)
    np.testing.assert_array_equal(np.array(facts["scores"], np.float32), batch.scores)
    assert list(shell.folder.iterdir()) == []


def test_models(shell: Shell) -> None:
    lines = shell.ok("models").splitlines()
    assert lines[0].split() == ["model", "version", "state", "sample", "labels", "provider", "notes"]
    assert lines[2].startswith("tiny                2*       ready  image uint8 [8, 8, 1]    zero, one, two  C")
    noted = {line.split()[0]: line.rpartition("  ")[2] for line in lines[1:]}
    assert noted["tiny-codes"] == "controls c0 (-1 to 1)"
    assert noted["tiny-uncritical"] == "no critic"
    listed: list[dict[str, Any]] = json.loads(shell.ok("models", "--json"))
    assert [model["name"] for model in listed][:2] == ["tiny", "tiny-codes"]
    assert listed[1]["versions"][0]["controls"][0]["name"] == "c0"
    assert listed[0]["versions"][0]["sample"] == {"kind": "image", "dtype": "uint8", "shape": [8, 8, 1]}
    assert listed[0]["versions"][0]["state"] == "ready"


def test_control_characters_of_a_model_do_not_reach_the_terminal(shell: Shell, tmp_path: Path) -> None:
    names = ("\x1b]0;mine\x07", "\x1b[31mred", "\x9b31mred")
    build_tiny_package(tmp_path / "models", model=TinyModel(label_names=names))
    with running_server(tmp_path / "models") as server:
        for words in (("models",), ("sample", "--label", "\x1b[32mgreen")):
            done = shell(*words, GANSERVE_TARGET=server.address)
            assert "\x1b" not in done.stdout + done.stderr
            assert "\\x1b[31mred" in done.stdout + done.stderr
        printed = shell("models", "--json", GANSERVE_TARGET=server.address).stdout
        assert printed.replace("\n", "").isprintable()
        assert json.loads(printed)[0]["versions"][0]["label_names"] == list(names)


@pytest.mark.parametrize(
    ("code", "arguments", "message"),
    [
        (2, ("sample", "-n", "0"), "--count 0: must be at least 1"),
        (2, ("sample",), "--model: this server has several models; name one: tiny"),
        (2, ("sample", "--model", "tiny", "--label", "9"), "--label 9: model 'tiny' has the labels 0 to 2"),
        (2, ("sample", "--model", "tiny", "--label", "x"), "--label x: model 'tiny' has the labels 'zero'"),
        (2, ("sample", "--model", "tiny", "--seed", "-1"), "--seed -1: must be at least 0"),
        (2, ("sample", "--model", "tiny", "--truncation", "0"), "--truncation 0.0: must be a finite number"),
        (2, ("models", "--timeout-s", "0"), "--timeout-s 0.0: must be"),
        (2, ("sample", "--model", "tiny", "--out", "-"), "--out -: samples are not written to stdout"),
        (2, ("score", "-"), "FILE -: nothing is read from stdin"),
        (
            1,
            ("sample", "--model", "tiny-vector", "--encoding", "png"),
            "model 'tiny-vector' makes vectors, png is for images: ask for raw or float32",
        ),
        (
            2,
            ("sample", "--model", "tiny", "--out", "x.jpg"),
            "--out x.jpg: must be NAME.png, NAME.npz, NAME.npy, NAME.csv or a folder",
        ),
        (2, ("sample", "--model", "tiny", "--out", "no/x.png"), "--out no/x.png: there is no folder 'no'"),
        (1, ("sample", "--model", "nope"), "there is no model 'nope'; there are: tiny"),
        (
            2,
            ("sample", "--model", "tiny-vector", "--out", "x.png"),
            "--out x.png: model 'tiny-vector' makes no pictures but vector",
        ),
        (
            2,
            ("sample", "--model", "tiny", "--out", "x.csv"),
            "--out x.csv: model 'tiny' makes no vectors but image uint8 [8, 8, 1]. Give NAME.png",
        ),
        (
            2,
            ("sample", "--select", "best"),
            "--select best: not a rule. Give best-of:N or rejection:N, N in 1 to 1024.",
        ),
        (2, ("sample", "--select", "best-of:1025"), "--select best-of:1025: not a rule. Give best-of:N"),
        (2, ("sample", "--scale", "2"), "--scale: is for one picture: add --out NAME.png"),
        (2, ("sample", "--captions", "-o", "x/"), "--captions: is for one picture: add --out NAME.png"),
        (2, ("sample", "--scale", "0", "-o", "x.png"), "--scale 0: must be at least 1"),
        (2, ("sample", "--walk-to", "2"), "--walk-to: has no --seed to begin at"),
        (2, ("sample", "--walk-to", "2", "--seed", "1", "--offset", "1"), "--offset: cannot go with --walk-to"),
        (2, ("bench", "x", "--target", "y"), "--target: cannot go with HOST:PORT: leave one of them out"),
        (2, ("sample", "--control", "c0"), "--control c0: not NAME=FLOAT. Write it like c0=0.5."),
        (2, ("sample", "--control", "c0=half"), "--control c0=half: not NAME=FLOAT"),
        (
            2,
            ("sample", "--control", "c0=1", "--control", "c0=2"),
            "--control c0=2: sets c0 twice. Give each control once.",
        ),
        (1, ("sample", "--model", "tiny", "--control", "c0=1"), "model 'tiny' has no controls (got 'c0')"),
        (2, ("score", "no.npy", "--model", "tiny-vector"), "FILE no.npy: does not exist"),
        (1, ("sample", "--model", "tiny-uncritical", "--scores"), "version 1 of model 'tiny-uncritical' has no critic"),
        (2, ("score",), "FILE: missing. `ganserve score --help` describes it."),
        (2, ("score", "no.png", "--model", "tiny"), "FILE no.png: does not exist"),
        (
            2,
            ("score", "."),
            "FILE .: is a folder without pictures (folders in it are not searched). Give files that end",
        ),
        (2, ("models", "--target", "http://x"), "--target http://x: must be"),
    ],
)
def test_errors_have_one_line(shell: Shell, code: int, arguments: tuple[str, ...], message: str) -> None:
    assert shell.refused(code, *arguments).startswith(message)
    assert list(shell.folder.iterdir()) == []


def test_too_many_samples_for_a_picture_are_refused_before_drawing(shell: Shell) -> None:
    message = shell.refused(2, "sample", "-n", "1000000000", "--model", "tiny", "--out", "x.png")
    assert message.startswith("samples: are 1000000000, too many for one picture of 80 megapixels at most")


def test_a_missing_server_is_reported(shell: Shell, closed_port: str) -> None:
    message = shell.refused(3, "sample", "--target", closed_port)
    assert message.startswith(
        f"no server answers at {closed_port} (Connection refused): start one with `ganserve serve"
    )
    assert "or say where it is: --target or the environment variable GANSERVE_TARGET" in message
