"""Test progress of a command: a bar on a terminal, nothing elsewhere."""

import io

from rich.console import Console

from ganserve_training.run.command_progress import shown_steps


def drawn(*, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80)
    with shown_steps(console) as steps:
        steps.next("reading [the data]")
        steps.expect(2)
        steps.next("measuring fid")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_bar_on_a_terminal_is_erased_at_the_end() -> None:
    seen = drawn(terminal=True)
    assert "1/2" in seen
    assert "measuring fid" in seen
    assert seen.endswith("\x1b[2K")


def test_nothing_without_a_terminal() -> None:
    assert drawn(terminal=False) == ""
