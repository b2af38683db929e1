"""Test applications against a real server, whose model is built in milliseconds, without PyTorch.

In a conftest.py:

    pytest_plugins = ["ganserve.testing.fixtures"]

Then tests can use the fixtures `ganserve_server` and `ganserve_client`. Without pytest, `running_server` does the same:

    from ganserve.testing import running_server

    with running_server() as server, server.client() as client:
        client.sample(4, "7")

It needs the extra `server`: pip install 'ganserve[server]'.
"""

from ganserve.testing._packages import TinyModel, build_package
from ganserve.testing._server import RunningServer, running_server

__all__ = ["RunningServer", "TinyModel", "build_package", "running_server"]
