"""The options of StyleGAN2, which both of its networks read."""

from dataclasses import dataclass
from typing import Literal

from ganserve_training.errors import ConfigError
from ganserve_training.networks.config import OpenOutputConfig, Shape
from ganserve_training.options.checks import expect, expect_not_negative, refusal


@dataclass(frozen=True, kw_only=True)
class Stylegan2Options(OpenOutputConfig):
    """The options of StyleGAN2's networks; `Stylegan2Config` names the networks, too."""

    generator_conditioning: Literal["auto", "none", "concatenation"] = "auto"
    """Use of the label in the generator: a linear embedding, as long as w, that is concatenated to the latent. auto:
    concatenation if the data have labels, else none."""
    critic_conditioning: Literal["auto", "none", "projection"] = "auto"
    """Use of the label in the critic: projection on a direction that a mapping network makes from the label. auto:
    projection if the data have labels, else none."""
    generator_width: int = 32
    """The generator's channels at full resolution; each halving of the resolution doubles them, up to
    --networks.max-width."""
    critic_width: int = 32
    """The critic's channels, as for the generator."""
    max_width: int = 256
    """Largest number of channels at any resolution; the paper uses 512."""
    minibatch_stddev_group: int = 4
    """Group size of the minibatch standard deviation, which shows the critic how much samples vary (Karras et al.
    2017); 0: off. An exported critic takes its mean from training, so that it scores each sample alone."""
    w_dim: int = 64
    """Number of values in a style vector w; the paper uses 512."""
    mapping_layers: int = 2
    """Fully connected layers from a latent to w; the paper uses 8, and 2 for images of 32 pixels."""
    critic_mapping_layers: int = 8
    """Fully connected layers from a label to the critic's direction, with labels."""
    critic_residual: bool = True
    """Residual connections around the critic's blocks; the paper's configuration for CIFAR-10 has none."""
    style_mixing: float = 0.9
    """Probability that a sample of training takes the w's of a random layer and those after it from a second latent."""
    w_average_decay: float = 0.995
    """Weight of the old mean of w, to which truncation moves, in each update."""
    activation_clamp: float = 0.0
    """Clamp what layers give to plus or minus this; 0: off. The paper's code uses 256 for half precision."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect_positive("generator_width", "critic_width", "max_width")
        self._expect_positive("w_dim", "mapping_layers", "critic_mapping_layers")
        group = self.minibatch_stddev_group
        expect(group == 0 or group >= 2, "networks.minibatch_stddev_group", group, "0 (off) or at least 2")
        decay = self.w_average_decay
        expect(0.0 < decay < 1.0, "networks.w_average_decay", decay, "above 0 and below 1")
        mixing = self.style_mixing
        expect(0.0 <= mixing <= 1.0, "networks.style_mixing", mixing, "from 0 (off) to 1")
        expect_not_negative("networks.activation_clamp", self.activation_clamp)
        for name, default in (("categories", 0), ("continuous", 0)):
            value = getattr(self.codes, name)
            if value != default:
                problem = "needs a head in the critic, which --networks.architecture stylegan2 lacks"
                raise refusal(f"networks.codes.{name}", value, problem, "Use another architecture, such as dcgan")

    def levels(self, shape: Shape) -> int:
        """Return the number of doublings from 4 x 4 to images (C, H, W).

        Raises:
            ConfigError: The sample is not a square image with a side of 8, 16, 32, … or 1024 pixels.
        """
        what = "makes square images with a side of 8, 16, 32, 64, 128, 256, 512 or 1024 pixels"
        path = "--networks.architecture stylegan2"
        if len(shape) != 3:
            problem = f"{what}, and a sample of these data is a vector of {shape[0]} values"
            raise ConfigError(f"{path}: {problem}. Use --networks.architecture mlp.")
        _, height, width = shape
        if height != width or not 8 <= height <= 1024 or height & (height - 1):
            fix = "Resize the data, for instance by --data.size 32"
            raise ConfigError(f"{path}: {what} (got {height} x {width}). {fix}.")
        return height.bit_length() - 3
