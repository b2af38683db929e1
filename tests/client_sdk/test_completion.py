"""Test completion of the command line in real shells."""

from __future__ import annotations

import itertools
import os
import pty
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from commands import arguments_of, ganserve
from ganserve._commands import commands, main

SHELLS = ("bash", "zsh", "fish")


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write the script of each shell."""
    folder = tmp_path_factory.mktemp("completion")
    files = {}
    for shell in SHELLS:
        done = ganserve("completion", shell)
        assert done.stderr == ""
        files[shell] = folder / f"_ganserve.{shell}"
        files[shell].write_text(done.stdout)
    return files


def complete(shell: str, script: Path, line: str) -> list[str]:
    """Return the words that the Tab key offers at the end of a line."""
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    if shell == "fish":
        code = f'source {script}; complete -C "{line}"'
        found = run(["fish", "--no-config", "-c", code])
        return [each.partition("\t")[0] for each in found.splitlines()]
    words = " ".join(f'"{word}"' for word in line.split(" "))
    code = f"source {script}; COMP_WORDS=({words}); COMP_CWORD={len(line.split(' ')) - 1}; _ganserve; "
    return run([shell, "-c", code + 'printf "%s\\n" "${COMPREPLY[@]}"']).splitlines()


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.stdout


LINES = pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("ganserve s", {"sample", "score", "score-bulk", "serve"}),
        ("ganserve bench --enc", {"--encoding"}),
        ("ganserve bench --encoding w", {"webp"}),
        ("ganserve sample --tr", {"--truncation", "--truncation-layers"}),
        ("ganserve serve --provider t", {"tensorrt"}),
        ("ganserve train dcgan", {"dcgan", "dcgan-32"}),
        ("ganserve train digits --regularisers.weight-c", {"--regularisers.weight-clip"}),
        ("ganserve completion f", {"fish"}),
        ("ganserve train digits --help n", {"networks"}),
        ("ganserve train digits --help-", {"--help-all"}),
        ("ganserve train digits --networks.f", set()),  # --networks.fade-kimg is progressive's.
        ("ganserve train progressive-32 --networks.f", {"--networks.fade-kimg"}),
        ("ganserve --ver", {"--version"}),
    ],
)


@pytest.mark.parametrize("shell", ["bash", "fish"])
@LINES
def test_words_are_offered(scripts: dict[str, Path], shell: str, line: str, offered: set[str]) -> None:
    assert set(complete(shell, scripts[shell], line)) - {""} == offered


@LINES
def test_words_are_offered_by_the_tab_key_of_zsh(scripts: dict[str, Path], line: str, offered: set[str]) -> None:
    """Run zsh in a terminal, because it completes only there."""
    if shutil.which("zsh") is None:
        pytest.skip("there is no zsh here")
    process, terminal = pty.fork()
    if process == 0:
        os.execvpe("zsh", ["zsh", "-f", "-i"], {**os.environ, "TERM": "dumb", "PS1": "> "})
    try:
        setup = f"autoload -Uz compinit; compinit -u -D; source {scripts['zsh']}; unsetopt menucomplete; print re''ady"
        os.write(terminal, f"{setup}\n".encode())
        wait_for(terminal, {"\nready"})
        os.write(terminal, f"{line}\t\t".encode())
        wait_for(terminal, offered)
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(terminal)


def wait_for(terminal: int, words: set[str], timeout_s: float = 60) -> None:
    seen, deadline = "", time.monotonic() + timeout_s
    while not all(word in seen for word in words):
        left = deadline - time.monotonic()
        assert left > 0, f"no {words} in {seen!r}"
        if select.select([terminal], [], [], left)[0]:
            seen += os.read(terminal, 65536).decode(errors="replace")


def test_a_run_that_is_called_like_a_preset_is_no_command_for_bash(scripts: dict[str, Path]) -> None:
    assert complete("bash", scripts["bash"], "ganserve evaluate digits --feature-r") == ["--feature-range"]


def test_files_are_completed_if_no_word_fits(scripts: dict[str, Path]) -> None:
    assert complete("bash", scripts["bash"], "ganserve score pic") == [""]  # `-o default` lets bash offer files
    assert "complete -o default -F _ganserve ganserve" in scripts["bash"].read_text()


def test_each_option_is_known(scripts: dict[str, Path]) -> None:
    texts = {shell: script.read_text() for shell, script in scripts.items()}
    for name in commands():
        options = itertools.chain(*arguments_of(name).values())
        for flag in {flag for option in options for flag in option.positives if option.index is None}:
            for shell, text in texts.items():
                written = f"-l {flag[2:]} " if shell == "fish" and flag.startswith("--") else flag
                assert written in text, (shell, flag)


def test_a_preset_offers_its_own_options(scripts: dict[str, Path]) -> None:
    for preset, options in list(arguments_of("train").items())[::5]:
        offered = set(complete("bash", scripts["bash"], f"ganserve train {preset} --n"))
        flags = {flag for option in options for flag in option.names}
        assert offered == {flag for flag in flags if flag.startswith("--n")}


def test_a_tab_starts_no_process(scripts: dict[str, Path]) -> None:
    for script in scripts.values():
        assert "python" not in script.read_text()
        assert "$(ganserve" not in script.read_text()


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "tcsh: not a choice. Give one of bash, zsh, fish." in capsys.readouterr().err
