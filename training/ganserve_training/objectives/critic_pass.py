"""The critic's output for one batch of real and one of generated samples. N = batch, M = scores: N, or N / packing."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from ganserve_training.networks.critic_output import CriticOutput

Scorer = Callable[[Tensor, Tensor | None], CriticOutput]
"""samples [N, ...], labels int64 [N] or None -> the critic's output; augmentation included."""


class CriticPass:
    """Outputs for real and generated samples, and gradients with respect to them, for the loss and the penalties.

    Gradients are with respect to the samples before augmentation.

    Args:
        scorer: The augmentation, then the critic.
        real: Real samples [N, ...].
        fake: Generated samples [N, ...]; they have a graph only for an unrolled critic.
        labels: int64 [N], the same for both, or None.
        with_gradients: Prepare for gradients.
        together: Put real and generated samples through the critic as one batch, so that both gradients take one
            pass; not for a critic that mixes its samples.
    """

    def __init__(
        self,
        scorer: Scorer,
        real: Tensor,
        fake: Tensor,
        labels: Tensor | None,
        *,
        with_gradients: bool,
        together: bool = True,
    ) -> None:
        self.scorer = scorer
        self.labels = labels
        if together:
            both = torch.cat([real, fake])
            if with_gradients:  # Never set to False: an unrolled critic's generated samples have a graph.
                both.requires_grad_()
            output = scorer(both, None if labels is None else torch.cat([labels, labels]))
            self._batches, self._scores = [both], [output.scores]
            self.real, self.fake = output.halves()
        else:
            if with_gradients:
                real = real.detach().requires_grad_()
                # An unrolled critic's weights depend on the generated samples, too; a separate tensor isolates the
                # gradient with respect to the input.
                fake = fake.view_as(fake) if fake.requires_grad else fake.detach().requires_grad_()
            self.real, self.fake = scorer(real, labels), scorer(fake, labels)
            self._batches, self._scores = [real, fake], [self.real.scores, self.fake.scores]
        self.real_samples, self.fake_samples = real, fake
        self.real_scores, self.fake_scores = self.real.scores, self.fake.scores  # [M] each

    @cached_property
    def input_gradients(self) -> tuple[Tensor, Tensor]:
        """Each score's gradient with respect to its sample, differentiable: real, generated, [N, ...] each."""
        total = torch.stack([scores.sum() for scores in self._scores]).sum()
        gradients = torch.autograd.grad(total, self._batches, create_graph=True)
        real, fake = gradients if len(gradients) == 2 else gradients[0].chunk(2)
        return real, fake

    @cached_property
    def squared_gradient_norms(self) -> tuple[Tensor, Tensor]:
        """The squared Euclidean norm of each score's gradient, differentiable: real, generated, [M] each.

        A packed critic's score has one gradient with respect to all of its samples.
        """
        real, fake = (
            gradient.reshape(scores.shape[0], -1).square().sum(dim=1)
            for gradient, scores in zip(self.input_gradients, (self.real_scores, self.fake_scores), strict=True)
        )
        return real, fake
