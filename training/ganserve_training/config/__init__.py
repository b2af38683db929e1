"""The configuration of a training run: typed, frozen, checked once. Presets are values of `TrainConfig`.

Each loss, architecture, data source and optimiser has its options beside its code; `TrainConfig` joins them.
Import these names from here.
"""

from ganserve_training.config.choices import allowed_choices, owners, with_choices
from ganserve_training.config.train import OutputConfig, ScheduleConfig, TrainConfig
from ganserve_training.data.config import DataConfig, register_source
from ganserve_training.data.sources.array import ArrayConfig
from ganserve_training.data.sources.cifar10 import Cifar10Config
from ganserve_training.data.sources.csv import CsvConfig
from ganserve_training.data.sources.digits import DigitsConfig
from ganserve_training.data.sources.fashion import FashionConfig
from ganserve_training.data.sources.folder import FolderConfig
from ganserve_training.data.sources.gaussians import GridConfig, RingConfig
from ganserve_training.data.sources.idx import IdxConfig
from ganserve_training.data.sources.mnist import MnistConfig
from ganserve_training.data.sources.parquet import ParquetConfig
from ganserve_training.data.sources.patches import PatchesConfig
from ganserve_training.data.sources.stacked_digits import StackedDigitsConfig
from ganserve_training.data.sources.stacked_mnist import StackedMnistConfig
from ganserve_training.diagnosis.config import DiagnosisConfig
from ganserve_training.networks.config import CodesConfig, NetworksConfig, register_architecture
from ganserve_training.networks.convolutional import ConvolutionalConfig
from ganserve_training.networks.custom import CustomConfig
from ganserve_training.networks.dcgan import DcganConfig
from ganserve_training.networks.ema import EmaConfig
from ganserve_training.networks.mlp import MlpConfig
from ganserve_training.networks.progressive import ProgressiveConfig
from ganserve_training.networks.r3gan import R3ganConfig
from ganserve_training.networks.residual import ResidualConfig
from ganserve_training.networks.stylegan2 import Stylegan2Config
from ganserve_training.objectives.adaptive_augmentation import AdaConfig
from ganserve_training.objectives.augmentation import AugmentationConfig
from ganserve_training.objectives.losses import (
    HingeLoss,
    LeastSquaresLoss,
    Loss,
    MinimaxLoss,
    ModifiedMinimaxLoss,
    RelativisticAverageLoss,
    RelativisticPairingLoss,
    WassersteinLoss,
    register_loss,
)
from ganserve_training.objectives.penalties import GradientPenalty, RegularisersConfig, register_penalty
from ganserve_training.objectives.style_training import PathLengthConfig
from ganserve_training.options.anneal import Anneal
from ganserve_training.run.optimisers import (
    AdamConfig,
    OptimiserConfig,
    OptimisersConfig,
    RmspropConfig,
    SgdConfig,
    register_optimiser,
)
