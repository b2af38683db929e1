"""Run the server's core on a Ray cluster. Ray reports nothing to its makers."""

import os

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reads it when it is imported.
