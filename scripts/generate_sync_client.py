"""Generate the blocking client from the asyncio client; with --check, compare instead and fail on any difference.

It drops `async` and `await`, removes `Async` and `async_` from names, and changes a few phrases of docstrings. What
differs more is written by hand in pairs: `transport`, `channel`, `open_streams` and `waiting` of `ganserve._calls`.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import textwrap
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SDK = ROOT / "client_sdk" / "ganserve"
FILES = {
    "_async_client.py": "_client.py",
    "_async_connection.py": "_connection.py",
    "_async_scorer.py": "_scorer.py",
    "_async_verifier.py": "_verifier.py",
    "_calls/async_local.py": "_calls/local.py",
    "_calls/async_streams.py": "_calls/streams.py",
}
HEADER = "# Generated from {} by scripts/generate_sync_client.py: edit that file, then `make generate`.\n"
NAMES = {
    "StopAsyncIteration": "StopIteration",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
}
# Different phrases of the docstrings; each must occur once.
PHRASES = {
    "The asyncio client: draw": "The blocking client: draw",
    "`scripts/generate_sync_client.py` makes `_scorer.py` of this file.": "",
    "An asyncio client of a ganserve server; its methods are those of `Client`.": "A client of a ganserve server.",
    "The first call connects and binds the client to its event loop. Cancelling a task cancels its call.": "The first "
    "call connects, and any number of threads may use the client.",
    "for each attempt; it may be a coroutine function. Default": "for each attempt; any thread may call it. Default",
    "GRPC's asyncio interceptors, the first one outermost.": "GRPC's client interceptors "
    "(`grpc.UnaryUnaryClientInterceptor` and its siblings), the first one outermost.",
    "The first call starts the server, waits until the models are loaded, and raises what is wrong with them. "
    "`close()` stops the server.": "The models are loaded when this returns. `close()` stops the server.",
    "An iterator of batches and a context manager. Iterate it, don't await it.": "An iterator of batches and a context "
    "manager.",
    "and a context manager; iterate it, don't await it. An error": "and a context manager. An error",
    "Streams of samples and of scores for asyncio; they": "Streams of samples and of scores, blocking; they",
    "(16 MiB) ahead of the scores, and reads files in another thread.": "(16 MiB) ahead of the scores.",
    "calls of other tasks end": "calls of other threads end",
    "A stream belongs to one task.": "A stream belongs to one thread.",
    "A stream belongs to one task, which reads": "A stream belongs to one thread, which reads",
    "`scripts/generate_sync_client.py` makes `_client.py` of this file.": "",
    "`scripts/generate_sync_client.py` makes `_connection.py` of this file.": "",
    "`scripts/generate_sync_client.py` makes `_verifier.py` of this file.": "",
    "`scripts/generate_sync_client.py` makes `streams.py` of this file.": "",
    "`scripts/generate_sync_client.py` makes `local.py` of this file.": "",
}


def blocking_name(name: str) -> str:
    return NAMES.get(name) or re.sub(r"^(_?)Async(?=[A-Z])", r"\1", name).replace("async_", "")


def blocking_docstring(text: str, used: set[str]) -> str:
    """The docstring with its phrases changed."""
    for old, new in PHRASES.items():
        pattern = r"\s+".join(map(re.escape, old.split()))
        text, count = re.subn(pattern, new, text)
        used.update([old] * bool(count))
    text = re.sub(r"\b(async|await) ", "", text).replace("an with", "a with")
    text = re.sub(r"\b_?[A-Za-z_]*[Aa]sync_?[A-Za-z_]+\b", lambda name: blocking_name(name[0]), text)
    return re.sub(r"^(?=.{121})( +)(\w+: )?.*$", wrapped, text, flags=re.MULTILINE)


def wrapped(line: re.Match[str]) -> str:
    """A line that a change made too long, in several; those of an argument hang."""
    return textwrap.fill(line[0], 120, subsequent_indent=line[1] + " " * 4 * bool(line[2]))


def blocking(source: str, used: set[str]) -> str:
    """Return the blocking code of asyncio code."""
    lines = source.splitlines(keepends=True)
    out, at = [], (1, 0)
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    for i, token in enumerate(tokens):
        if token.type in (tokenize.NAME, tokenize.STRING):
            out.append(between(lines, at, token.start))
            at = token.end
            if token.string in ("async", "await"):
                at = tokens[i + 1].start
            elif token.type == tokenize.NAME:
                out.append(blocking_name(token.string))
            else:
                out.append(blocking_docstring(token.string, used))
    return "".join([*out, between(lines, at, (len(lines) + 1, 0))])


def between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    if start[0] == end[0]:
        return lines[start[0] - 1][start[1] : end[1]]
    last = [lines[end[0] - 1][: end[1]]] if end[0] <= len(lines) else []
    return "".join([lines[start[0] - 1][start[1] :], *lines[start[0] : end[0] - 1], *last])


def formatted(code: str, path: Path) -> str:
    """The code in the house style, its imports sorted, with no name twice in them or in a union."""
    for command in (["check", "--quiet", "--fix-only", "--select", "I,PYI016,D", "--unsafe-fixes"], ["format"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", path, "-"],
            input=code,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        code = done.stdout
    return code


def main() -> int:
    used: set[str] = set()
    stale = []
    for source, target in FILES.items():
        code = blocking((SDK / source).read_text(encoding="utf-8"), used)
        fresh = formatted(HEADER.format(Path(source).name) + code, SDK / target)
        path = SDK / target
        if not path.exists() or path.read_text(encoding="utf-8") != fresh:
            stale.append(target)
            if "--check" not in sys.argv[1:]:
                path.write_text(fresh, encoding="utf-8")
    if unused := sorted(PHRASES.keys() - used):
        print(f"phrases that no docstring has any more: {unused}", file=sys.stderr)
        return 1
    if "--check" in sys.argv[1:] and stale:
        print(f"generated code differs from its source: {', '.join(stale)}\nfix: make generate", file=sys.stderr)
        return 1
    print(f"the blocking client is what the asyncio client generates ({len(FILES)} files)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
