"""`python -m ganserve` is the command `ganserve`."""

import sys

from ganserve._command_framework.process import INTERRUPTED
from ganserve._commands import main

code = main()
if code == INTERRUPTED:
    # If SIGINT comes while exec or eval runs (as in every named tuple), CPython counts it as unhandled although it was
    # caught, and `python -m` then ends by SIGINT, not with its exit code (run_eval_code_obj and Py_RunMain). Another
    # exec resets that.
    exec("")  # noqa: S102
sys.exit(code)
