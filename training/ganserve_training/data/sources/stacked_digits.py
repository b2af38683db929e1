"""Three of scikit-learn's digits as the channels of one image: a thousand modes that need no download."""

from dataclasses import dataclass

from ganserve_training.data.bad_files import ReportBadFiles
from ganserve_training.data.config import register_source
from ganserve_training.data.samples_in_memory import Images
from ganserve_training.data.sources.digits import load_digits
from ganserve_training.data.sources.stacks import StacksConfig


@register_source
@dataclass(frozen=True, kw_only=True)
class StackedDigitsConfig(StacksConfig):
    """Three of scikit-learn's 8 x 8 digits as the channels of one image, unlabelled."""

    source = "stacked-digits"
    default_count = 50_000

    def load_digits(self, report: ReportBadFiles | None) -> Images:  # noqa: ARG002
        """Return all digits, 8 x 8."""
        return load_digits()
