import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread() -> None:
    """Tiny networks are quickest on one thread, by far where other programs keep the cores busy."""
    torch.set_num_threads(1)
