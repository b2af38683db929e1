"""`python -m ganserve_server` is `ganserve serve`."""

import sys

from ganserve._command_framework.first_process import end_by_signals

if __name__ == "__main__":
    end_by_signals()  # the import takes a while
    from ganserve_server.commands.serve import main

    sys.exit(main(sys.argv[1:]))
