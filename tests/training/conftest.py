import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread() -> None:
    """Use one thread: tiny networks are fastest so, above all on busy cores."""
    torch.set_num_threads(1)
