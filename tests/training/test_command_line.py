"""Test that refusals of the commands are one line with the problem, the expected value and the fix."""

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ganserve_training import PRESETS
from ganserve_training.commands import evaluate as evaluate_command
from ganserve_training.commands import report as report_command
from ganserve_training.commands import train as train_command
from ganserve_training.commands.familiar_options import ANSWERS, answer_to
from ganserve_training.commands.train_options import options_of_config
from ganserve_training.config import TrainConfig
from ganserve_training.config.serialisation import flat_config
from ganserve_training.presets import LISTED

MAINS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": train_command.main,
    "evaluate": evaluate_command.main,
    "report": report_command.main,
}
CUSTOM = (
    "--networks.architecture custom --networks.generator-class my_package.models:MyGenerator --networks.critic-class "
    "my_package.models:MyCritic --networks.generator-conditioning auto --networks.critic-conditioning auto"
)
LONG = "/a/path/longer/than/a/terminal/is/wide" * 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train digits --steps many", "error: --steps many: not a whole number. Give one, such as 1.\n"),
        (
            "train digits --ema.half-life-kimg x",
            "error: --ema.half-life-kimg x: not a number. Give one, such as ",
        ),
        ("train digits --regularisers.r1-gamma many", "error: --regularisers.r1-gamma.start many: not a number."),
        ("train digits --regularisers.r1_gamma", "error: --regularisers.r1_gamma: needs a value. It sets "),
        ("train digits --threads 1.5", "error: --threads 1.5: not a whole number. Give one, such as 1.\n"),
        ("train digits --stpes 5", "error: --stpes: no such option. Did you mean --steps?\n"),
        ("train digits --lr 1e-3", "error: --lr: no such option. Use --optimisers.generator.learning-rate and "),
        ("train --data . --lr 1", "error: --lr: no such option. Use --optimisers.generator.learning-rate and "),
        (
            "train wgan-gp --lambda_gp 9",
            "error: --lambda-gp: no such option. Use --regularisers.gradient-penalty.weight",
        ),
        ("train digits --epochs=9", "error: --epochs: no such option. Use --steps, which counts updates: epochs * "),
        ("train digits --batch 9", "error: --batch: no such option. Use --batch-size.\n"),
        ("train digits --data_dir photos", "error: --data-dir: no such option. Use --data.\n"),
        ("train digits --gpus 4", "error: --gpus: no such option. Use --device cuda; to share each batch among 4 GPUs"),
        ("train digits --output runs", "error: --output: no such option. Use --out.\n"),
        ("train digits more", "error: more: not expected here. Leave it out, or see `ganserve train digits --help`.\n"),
        ("train digits --device tpu", "error: --device tpu: not a choice. Give one of auto, cpu, cuda.\n"),
        (
            "train digits --networks.latent-dim",
            "--networks.latent-dim: needs a value. `ganserve train digits --help` describes it.",
        ),
        ("train digits --steps 0", "error: --steps 0: must be at least 1."),
        (
            f"train digits --data.path {LONG}",
            "error: --data.path: does not exist with --data.source digits. Leave it out, or choose --data.source array",
        ),
        (
            "train digits --loss.label-smoothing 0.5",
            "error: --loss.label-smoothing: does not exist with --loss.name relativistic-pairing. Leave it out, or ",
        ),
        (
            "train dcgan-32 --data.source digits --data.size 32",
            "error: --data.size: does not exist with --data.source digits.",
        ),
        (
            "train dcgan-32 --data.source digits --data.count 9",
            "error: --data.count: does not exist with --data.source digits.",
        ),
        ("train dcgan-32 --data.source=ring", "is a vector of 2 values. Use --networks.architecture mlp"),
        (
            "train dcgan-32 --data.source folder",
            "--data.source folder: needs the path of your data. Add --data.path PATH.",
        ),
        (
            "train dcgan-32 --data.source",
            "--data.source: needs a value. `ganserve train dcgan-32 --help` ",
        ),
        ("train dcgan-32 --data.source mine", "--data.source mine: not a choice. Give one of array, "),
        (
            "train digits --data.source ring --networks.generator-conditioning concatenation",
            "train without: --data.labels ignore",
        ),
        (
            "train progressive-32 --data.source digits --networks.batch-sizes 64 64 32 32",
            "--networks.batch-sizes 64 64 32 32: must have 2 values",
        ),
        (
            "train digits --diagnosis.no-enabled --diagnosis.patience 3",
            "error: --diagnosis.patience 3: has no effect while the diagnosis is switched off. Leave out "
            "--diagnosis.no-enabled.\n",
        ),
        (
            "train ring --networks.max-width 64",
            "error: --networks.max-width: does not exist with --networks.architecture mlp.",
        ),
        (
            "train ring --networks.label-embedding-dim 8",
            "error: --networks.label-embedding-dim 8: has no effect where no network has a label concatenated",
        ),
        (
            "train digits --optimisers.critic.beta2.end 1.5",
            "error: --optimisers.{generator,critic}.beta2.{start,end} 0.99 to 1.5: must be at least 0 and less than",
        ),
        (
            "train digits --regularisers.roth-gamma.start 0.1",
            "error: --regularisers.roth-gamma.{start,end} 0.1 to 0: needs scores that are logits, and those of",
        ),
        (
            "train r3gan-32 --networks.architecture mlp --networks.group-size 8",
            "--networks.group-size: does not exist with --networks.architecture mlp.",
        ),
        (
            "train sngan-32 --networks.architecture mlp --networks.generator-conditioning batch-norm",
            "error: --networks.generator-conditioning batch-norm: must be auto or",
        ),
        (
            "train progressive-32 --data.source digits --networks.batch-sizes 64 64 32 32",
            "Give as many, or one to all with --batch-size",
        ),
        (
            "train progressive-32 --batch_size=16 --progressive.batch-sizes 16 16 8 8",
            "error: --batch-size 16: has no effect beside --networks.batch-sizes, which gives each level its own.",
        ),
        (
            "train dcgan-32 --schedule.burn-in-steps 100",
            "error: --schedule.burn-in-steps 100: has nothing to anneal. Give a value another end",
        ),
        (
            f"train digits {CUSTOM} --networks.critic-width 64",
            "error: --networks.critic-width: does not exist with --networks.architecture custom.",
        ),
        ("train digits --step 50", "error: --step: no such option. Did you mean --steps?\n"),
        ("train digits --latent-dim 4", "error: --latent-dim: no such option. Did you mean --networks.latent-dim?\n"),
        ("train digts", "error: PRESET digts: no such preset. Did you mean digits?\n"),
        ("train", "error: PRESET: missing. Give one of mnist, "),
        ("train digits --threads 0", "--threads 0: must be at least 1."),
        ("train digits --processes 0", "--processes 0: must be at least 1."),
        ("train nothing", "PRESET nothing: no such preset. Give one of mnist, "),
        ("evaluate", "error: MODEL: missing. `ganserve evaluate --help` describes it.\n"),
        ("evaluate x --metrics beauty", "--metrics beauty: not a choice. Give one of density-coverage, fid, "),
        ("evaluate x --feature-side-px 0", "error: --feature-side-px 0: must be at least 1."),
        ("evaluate x --samples 0", "error: --samples 0: must be at least 1."),
        ("report", "error: RUN: missing. `ganserve report --help` describes it.\n"),
    ],
)
def test_refusals_are_one_line(
    words: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    command, *arguments = words.split()
    assert MAINS[command](arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"ganserve {command}: error: ")
    assert message in output.err
    assert output.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_burn_in_steps_are_accepted_if_a_flag_anneals_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_command, "_train", lambda _: 0)
    noise = "--augmentation.instance-noise.start 0.1"
    assert train_command.main(f"dcgan-32 --schedule.burn-in-steps 100 {noise}".split()) == 0


@pytest.mark.parametrize(
    ("words", "path", "value"),
    [
        ("progressive-32 --batch-size 16", "networks.batch_sizes", ()),
        ("progressive-32 --batch_size=16", "networks.batch_sizes", ()),
        ("progressive-32 --batch-size 16", "networks.fade_kimg", 12.0),
        ("progressive-32 --networks.architecture dcgan", "networks.fade_kimg", None),
        ("progressive-32 --networks.architecture=dcgan", "networks.batch_sizes", None),
        (f"digits {CUSTOM}", "networks.generator_width", None),
        (f"progressive-32 {CUSTOM}", "networks.minibatch_stddev_group", None),
        (f"sngan-32 {CUSTOM}", "networks.spectral_norm", "critic"),
        ("sngan-32 --networks.architecture r3gan", "networks.spectral_norm", None),
        ("sngan-32 --networks.architecture r3gan", "networks.generator_conditioning", "auto"),
        ("sngan-32 --networks.architecture mlp", "networks.generator_conditioning", "auto"),
        ("sngan-32 --networks.architecture dcgan", "networks.generator_conditioning", "batch-norm"),
        (f"digits {CUSTOM}", "networks.critic_conditioning", "auto"),
        ("digits --data.labels ignore --networks.packing 2", "networks.generator_conditioning", "auto"),
        (f"digits {CUSTOM}", "networks.critic_width", None),
        ("progressive-32 --seed 1", "networks.batch_sizes", (64, 64, 32, 32)),
    ],
)
def test_options_without_use_are_dropped_from_the_preset(
    words: str, path: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[TrainConfig] = []
    monkeypatch.setattr(train_command, "_train", lambda arguments: started.append(arguments.config) or 0)
    assert train_command.main(words.split()) == 0
    assert flat_config(started[0]).get(path) == value


def test_a_preset_without_a_flag_starts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.joinpath("runs").write_text("in the way of the run's folder")
    assert train_command.main(["digits"]) == 1
    assert "runs" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train digits", "evaluate", "report"])
def test_help_goes_to_stdout(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, *arguments = command.split()
    assert MAINS[name]([*arguments, "--help"]) == 0
    output = capsys.readouterr()
    assert output.out.startswith(f"usage: ganserve {command} ")
    assert output.err == ""


def test_the_list_of_presets_says_what_each_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert train_command.main(["--help"]) == 0
    listed = capsys.readouterr().out.partition("presets:\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed] == list(LISTED)
    assert set(LISTED) < set(PRESETS)
    assert all(10 < len(line) <= 100 and len(line.split()) > 3 for line in listed)


def test_answers_to_familiar_options_name_options_that_exist() -> None:
    ours = {option.name for preset in PRESETS for option in options_of_config(PRESETS[preset])}
    flags = {f"--{name.replace('__', '.').replace('_', '-')}" for name in ours} | {"--data", "--out", "--device"}
    told = {flag for answer in ANSWERS.values() for flag in re.findall(r"--[a-z0-9.-]+[a-z0-9]", answer)}
    assert told - {"--processes"} <= flags | {flag.removesuffix(".start") for flag in flags}
    assert ANSWERS.keys().isdisjoint(flags)
    assert {answer_to(flag) for flag in ("--img-size", "--imgsize", "--IMG_SIZE")} == {"--data.size"}


def test_the_list_of_options_is_up_to_date() -> None:
    script = Path(__file__).parents[2] / "scripts" / "list_train_options.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
