"""Use of labels and InfoGAN's codes in the networks, for one configuration and its data."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditioning:
    """The use of labels and codes, with "auto" resolved."""

    generator: Literal["none", "concatenation", "batch-norm"] = "none"
    """Use of the label, or of InfoGAN's discrete code, in the generator."""
    critic: Literal["none", "concatenation", "projection", "classifier"] = "none"
    """Use of the label in the critic. classifier: it is not an input; the critic predicts it."""
    label_names: tuple[str, ...] = ()
    """Names of the generator's labels: the data's, or "code-0", "code-1", …."""
    code_categories: int = 0
    """Number of values of the discrete code that the critic predicts; 0: no such head."""
    continuous_codes: int = 0
    """Number of continuous codes, the last values of a latent, that the critic predicts; 0: no such head."""

    @property
    def label_count(self) -> int:
        """Number of the generator's labels."""
        return len(self.label_names)

    @property
    def critic_uses_labels(self) -> bool:
        """True if scores depend on labels."""
        return self.critic in ("concatenation", "projection")

    @property
    def critic_has_label_head(self) -> bool:
        """True if the critic predicts labels or codes; it then ignores labels in its arguments."""
        return self.critic == "classifier" or self.code_categories > 0
