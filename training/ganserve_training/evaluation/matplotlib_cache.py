"""Keep matplotlib, which torchmetrics imports where it is installed, from writing below the user's home folder."""

import atexit
import os
import shutil
import sys
import tempfile


def use_temporary_cache() -> None:
    """Give matplotlib a temporary folder for its cache, unless the environment names one; call it before the import."""
    if "MPLCONFIGDIR" not in os.environ and "matplotlib" not in sys.modules:
        folder = tempfile.mkdtemp(prefix="ganserve-matplotlib-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["MPLCONFIGDIR"] = folder
