"""Run the same generators in PyTorch, eager and compiled, from and to the device's memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from subjects import Subject


@dataclass(frozen=True)
class TorchWay:
    """Options of PyTorch."""

    dtype: torch.dtype
    compiled: bool = False

    def __str__(self) -> str:
        layout = "" if self.dtype is torch.float32 else ", channels_last"
        kind = "torch.compile" if self.compiled else "torch eager"
        return f"{kind} {str(self.dtype).removeprefix('torch.')}{layout}{', CUDA graphs' if self.compiled else ''}"


class TorchRunner:
    """A module on a device. In float32, convolutions use TF32: PyTorch's default."""

    def __init__(self, subject: Subject, way: TorchWay, device: str) -> None:
        layout = torch.contiguous_format if way.dtype is torch.float32 else torch.channels_last
        module = subject.module(way.dtype).to(device=device, memory_format=layout)
        self._subject, self._device = subject, device
        self._run: Callable[..., torch.Tensor] = module
        if way.compiled:
            torch.compiler.reset()
            # A dry run needs no compiler. reduce-overhead is torch's name for CUDA graphs.
            how = {"mode": "reduce-overhead"} if device == "cuda" else {"backend": "eager"}
            self._run = torch.compile(module, dynamic=False, **how)

    def calls(self, batch: int) -> Callable[[], None]:
        """Return a call that computes a batch and waits for it."""
        inputs = [value.to(self._device) for value in self._subject.inputs(batch).values()]

        def call() -> None:
            with torch.no_grad():
                self._run(*inputs)
            if self._device == "cuda":
                torch.cuda.synchronize()

        return call
