"""Test in new processes which modules each import loads."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

import ganserve
from ganserve._commands import commands
from ganserve_training.presets.about import ABOUT

HEAVY = {"grpc", "numpy", "google", "cyclopts", "torch", "onnxruntime", "PIL", "rich", "asyncio"}


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(code: str) -> set[str]:
    """Return the top-level packages of HEAVY that some code loads."""
    output = run(
        f"{code}\nimport json, sys\nprint('\\n' + json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    )
    return HEAVY & set(json.loads(output.strip().rpartition("\n")[2]))


def test_importing_the_package_loads_no_heavy_package() -> None:
    assert loaded("import ganserve; dir(ganserve)") == set()


def test_the_help_loads_no_heavy_package() -> None:
    words = ("--version", "nonsense")
    assert loaded(f"from ganserve._commands import main; assert [main([w]) for w in {words}] == [0, 2]") == set()
    assert loaded("from ganserve._commands import main; assert main(['--help']) == 0") == {"cyclopts", "rich"}


def test_help_completion_and_refusals_load_no_framework() -> None:
    lines = [f"{command} --{flag}" for command in sorted(commands()) for flag in ("help", "nonsense")]
    lines += [f"train {preset} {rest}" for preset in ABOUT for rest in ("--help", "--help networks", "--help-all")]
    lines += [
        "train digits --steps 5 --help",
        "train digits --nonsense",
        "train digits --lr 1",
        "train --data x --stpes 3",
        "completion bash",
    ]
    code = f"""
import contextlib, sys
from ganserve._commands import main
for line in {lines}:
    main(line.split())
    assert not {{"torch", "onnxruntime", "PIL"}} & set(sys.modules), line
"""
    run(code)


def test_the_client_loads_neither_the_command_line_nor_any_extra() -> None:
    code = "from ganserve import Client, AsyncClient, SampleBatch; Client('localhost:1').close()"
    assert loaded(code) == {"grpc", "numpy", "google", "asyncio"}


def test_the_errors_load_without_grpc() -> None:
    assert loaded("from ganserve import GanserveError, ModelNotFound") == set()


def test_every_public_name_exists() -> None:
    assert len(set(ganserve.__all__)) == len(ganserve.__all__)
    for name in ganserve.__all__:
        assert getattr(ganserve, name) is not None
        assert name in dir(ganserve)
    with pytest.raises(AttributeError, match="module 'ganserve' has no attribute 'nonsense'"):
        ganserve.nonsense  # noqa: B018


def test_every_public_class_and_method_has_a_docstring() -> None:
    for name in ganserve.__all__:
        value = getattr(ganserve, name)
        if not inspect.isclass(value):
            continue
        assert value.__doc__, name
        for member, what in vars(value).items():
            if not member.startswith("_") and (callable(what) or isinstance(what, property | classmethod)):
                assert inspect.getdoc(getattr(value, member)), f"{name}.{member}"


def test_every_command_has_its_module() -> None:
    for name, command in commands().items():
        assert find_spec(command.module) is not None, name


WITHOUT_PILLOW = """
import sys
sys.modules["PIL"] = None  # as if it were not installed
import numpy as np
from ganserve import Client, MissingExtra, SampleBatch
images = np.zeros((2, 8, 8, 1), np.uint8)
batch = SampleBatch(samples=images, indices=np.arange(2), labels=None, label_names=None, seed=1, model="m", version=1)
assert batch._repr_png_() is None
assert batch[0]._repr_png_() is None
client = Client("localhost:1")
for use in (
    batch.to_pil,
    batch[0].to_pil,
    lambda: batch.save_grid("x.png"),
    lambda: batch.save("."),
    lambda: client.score("x.png"),
):
    try:
        use()
    except MissingExtra as error:
        assert isinstance(error, ImportError)
        print(error)
"""


def test_without_pillow_errors_say_how_to_install_it() -> None:
    lines = run(WITHOUT_PILLOW).splitlines()
    assert len(lines) == 5
    for line in lines:
        assert line.endswith(" needs Pillow, which is not installed: pip install 'ganserve[images]'")
    assert lines[4].startswith("reading 'x.png' needs")


@pytest.mark.parametrize(
    ("command", "missing", "extra"),
    [
        ("train", "torch", "training"),
        ("evaluate", "torch", "export"),
        ("export-onnx", "onnx", "export"),
        ("serve", "onnxruntime", "server"),
    ],
)
def test_a_command_whose_extra_is_missing_says_how_to_install_it(command: str, missing: str, extra: str) -> None:
    code = f"""
import sys
sys.modules[{missing!r}] = None  # as if it were not installed
from ganserve._commands import main
sys.exit(main([{command!r}, "--help"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 0:  # its help works without the extra
        assert done.stdout.startswith(f"usage: ganserve {command}")
    else:
        fix = f"Run pip install 'ganserve[{extra}]'."
        assert done.stderr == f"ganserve: error: {command}: needs {missing}, which is not installed. {fix}\n"
        assert done.returncode == 2


def test_a_missing_module_of_ganserve_is_not_reported_as_an_extra() -> None:
    code = """
import sys
sys.modules["ganserve_server.commands.serve"] = None
from ganserve._commands import main
try:
    main(["serve"])
except ModuleNotFoundError as error:
    print(error.name)
"""
    assert run(code) == "ganserve_server.commands.serve\n"
