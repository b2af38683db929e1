"""Package every ONNX file below a folder of public repositories, and print the results as a Markdown table.

    python scripts/works_with.py FOLDER [--out TABLE.md]

FOLDER has one folder for each repository. Each file is packaged without options first. A file `tries.json` in FOLDER
may give further options, as a user would after reading the first answer: {"repository/file.onnx": "--shape 64x64x3"};
an object names the critic, too: {"repository/g.onnx": {"critic": "repository/d.onnx", "options": "--labels 10"}}.
The tests do not run this: the repositories change, and stay outside of this one.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shlex
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ganserve_export.commands import package as package_command


@dataclass(frozen=True, kw_only=True)
class Row:
    """Result for one file."""

    repository: str
    command: str
    result: str
    difference: str
    tries: int
    works: bool


def package(file: Path, options: list[str], out: Path) -> tuple[bool, str, str]:
    """Return whether it was packaged, what it was taken for or the error, and the largest difference."""
    said, refused = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(refused):
        code = package_command.main([str(file), *options, "--out", str(out / "model"), "--json"])
    if code:
        return False, refused.getvalue().strip().removeprefix("ganserve package: error: "), ""
    packaged = json.loads(said.getvalue())
    difference = packaged["generator"]
    unit = " of 255 levels" if difference["is_pixels"] else ""
    return True, packaged["generator_is"], f"{difference['largest']:.2g}{unit}"


def try_file(folder: Path, file: Path, further: object) -> Row:
    """Package a file, at most twice."""
    name = file.relative_to(folder)
    options: list[str] = []
    works, result, difference, tries = False, "", "", 0
    further_options = []
    if isinstance(further, dict):
        further_options = [str(folder / further["critic"]), *shlex.split(further.get("options", ""))]
    elif further:
        further_options = shlex.split(str(further))
    for given in ([], further_options) if further_options else ([],):
        tries += 1
        options = given
        with tempfile.TemporaryDirectory() as scratch:
            works, result, difference = package(file, options, Path(scratch))
        if works and given == further_options:
            break
        sys.stderr.write(f"{name}: try {tries}: {result}\n")
    shown = " ".join(option.removeprefix(f"{folder}/") for option in options)
    command = f"ganserve package {name.name} {shown}".strip()
    short = result.replace(str(folder), "").replace("|", "\\|")
    return Row(repository=name.parts[0], command=command, result=short, difference=difference, tries=tries, works=works)


def main() -> int:
    """Print the table, and the share of files that were packaged, on stderr."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    folder: Path = arguments.folder.resolve()
    further = {}
    if (folder / "tries.json").is_file():
        further = json.loads((folder / "tries.json").read_text(encoding="utf-8"))
    critics = {str(entry["critic"]) for entry in further.values() if isinstance(entry, dict)}
    files = [file for file in sorted(folder.glob("*/**/*.onnx")) if str(file.relative_to(folder)) not in critics]
    rows = [try_file(folder, file, further.get(str(file.relative_to(folder)))) for file in files]
    lines = ["| from | command | result | largest difference | tries |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.repository} | `{row.command}` | {row.result} | {row.difference or '-'} | {row.tries} |" for row in rows
    ]
    text = "\n".join(lines) + "\n"
    if arguments.out is None:
        sys.stdout.write(text)
    else:
        arguments.out.write_text(text, encoding="utf-8")
    sys.stderr.write(f"{sum(row.works for row in rows)} of {len(rows)} files were packaged\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
