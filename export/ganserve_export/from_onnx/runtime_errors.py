"""Put onnxruntime's errors into one short, plain line."""

import re

_SOURCE_LINE = re.compile(r"/onnxruntime_src/\S+:\d+ .*?\([^)]*\) (?=\w)(const )?")
_NODE = re.compile(r"while running (?P<operation>\w+) node\. Name:'(?P<name>[^']*)'")
_EXPECTED = re.compile(r"index: (?P<axis>\d+) Got: (?P<got>\d+) Expected: (?P<expected>\d+)")
MOST = 300


def one_line(error: Exception) -> str:
    """Return an error of onnxruntime in one short line, without its codes and source lines."""
    whole = " ".join(str(error).split())
    text = _SOURCE_LINE.sub("", whole)
    for mark in ("Status Message: ", " : "):
        text = text.rpartition(mark)[2] if mark in text else text
    node = _NODE.search(whole)
    if node:
        text = f"its node {node['name'] or 'without a name'} ({node['operation']}) fails: {text}"
    elif expected := _EXPECTED.search(whole):
        text = f"axis {expected['axis']} of an input must be {expected['expected']} (got {expected['got']})"
    return text[:MOST].rstrip(" .")
