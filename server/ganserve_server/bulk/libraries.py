"""Name the extra that installs what a job needs."""

from importlib.util import find_spec

from ganserve_server.errors import JobError


def require(library: str, what: str) -> None:
    """Raise JobError if a library is not installed, which `what` needs."""
    if find_spec(library) is None:
        raise JobError(f"{what} needs {library}, which is not installed. Run pip install 'ganserve[bulk]'.")
