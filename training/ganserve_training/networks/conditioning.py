"""How labels and InfoGAN's codes enter and leave the networks, decided once for a configuration and its data."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditioning:
    """What "auto" means here, and how many labels there are."""

    generator: Literal["none", "concatenation", "batch-norm"] = "none"
    """How the label, or InfoGAN's discrete code, enters the generator."""
    critic: Literal["none", "concatenation", "projection", "classifier"] = "none"
    """How the label enters the critic; classifier: it does not enter, the critic guesses it."""
    label_names: tuple[str, ...] = ()
    """Of the labels that the generator takes: the data's, or "code-0" and so on."""
    code_categories: int = 0
    """Values of the discrete code that the critic reads back; 0: no such head."""
    continuous_codes: int = 0
    """Continuous codes that the critic reads back, the last values of a latent; 0: no such head."""

    @property
    def label_count(self) -> int:
        """Labels that the generator takes."""
        return len(self.label_names)

    @property
    def critic_uses_labels(self) -> bool:
        """Whether scores depend on labels."""
        return self.critic in ("concatenation", "projection")

    @property
    def critic_has_label_head(self) -> bool:
        """Whether the critic guesses labels or codes; it then takes them as arguments without looking at them."""
        return self.critic == "classifier" or self.code_categories > 0
