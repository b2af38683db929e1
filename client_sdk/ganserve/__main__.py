"""`python -m ganserve` is the command `ganserve`."""

from __future__ import annotations

import sys

from ganserve._cli import main
from ganserve._command_line.command import INTERRUPTED

code = main()
if code == INTERRUPTED:
    # An interrupt that comes while the text of an exec or eval runs, as every named tuple has one, is remembered by
    # CPython as unhandled though it is caught, and a process of `python -m` then ends by SIGINT, not with its exit code
    # (run_eval_code_obj and Py_RunMain). The next text that runs has it forget.
    exec("")  # noqa: S102
sys.exit(code)
