"""`python -m ganserve` is the command `ganserve`."""

import sys

from ganserve._cli import main

sys.exit(main())
