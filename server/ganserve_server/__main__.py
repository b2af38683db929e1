"""`python -m ganserve_server` is `ganserve serve`."""

import sys

from ganserve_server.commands.serve import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
