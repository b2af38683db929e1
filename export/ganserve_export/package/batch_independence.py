"""Check that a network treats each sample alone: a server mixes requests of different clients in a batch.

N = batch. Batch normalisation and minibatch statistics are frozen in eval mode. A network that still compares the
samples of its batch, or that draws random numbers, cannot be served.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ganserve_export.errors import ExportError

BATCH = 64
PARTS = (1, 3)
# Shares of the outputs' spread and of their size. Rounding differs with the batch size by a hundredth of that.
SPREAD_TOLERANCE, RELATIVE_TOLERANCE = 1e-3, 5e-6
FREEZE = (
    "freeze such a statistic in eval mode (running means, as BatchNorm and "
    "ganserve_training.networks.MinibatchStddev do)"
)


def check_alone(
    call: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    sample_shape: tuple[int, ...],
    name: str,
    *,
    rounding: float = RELATIVE_TOLERANCE,
    advice: str = FREEZE,
) -> None:
    """Check that each sample's output has the right shape and does not depend on the rest of the batch.

    `call` is the network in eval mode: N of each input, 64 or fewer large ones -> [N, *sample_shape]. `rounding` is the
    error that its number format causes, as a share of the largest output. Errors begin with `name`, and give `advice`
    on a network that mixes its samples.
    """
    with torch.inference_mode():
        batch = len(inputs[0])
        together = _call(call, inputs, name)
        if tuple(together.shape) != (batch, *sample_shape):
            raise ExportError(
                f"the {name} gives {list(together.shape)} for {batch} samples; expected {[batch, *sample_shape]}"
            )
        if not torch.equal(together, _call(call, inputs, name)):
            raise ExportError(
                f"the {name} gives another result for the same inputs: it draws random numbers, so a seed would not "
                "always give the same sample. Remove the random operations, or make their values part of the latents"
            )
        allowed = SPREAD_TOLERANCE * float(together.std()) + rounding * float(together.abs().max())
        for count in (part for part in PARTS if part < batch):
            few = _call(call, [value[:count] for value in inputs], name)
            difference = float((few - together[:count]).abs().max())
            if difference > allowed:
                raise ExportError(
                    f"the {name} mixes its samples: a sample's result differs by {difference:.3g} between a batch "
                    f"of {count} and one of {batch}. A server mixes samples of different clients: {advice}"
                )


def _call(call: Callable[..., Tensor], inputs: Sequence[Tensor], name: str) -> Tensor:
    try:
        return call(*inputs)
    except Exception as error:  # the network may be the user's and raise anything
        raise ExportError(f"the {name} cannot be called with {len(inputs[0])} samples: {error}") from error
