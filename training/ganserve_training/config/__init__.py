"""The configuration of a training run: typed, frozen, checked once. Presets are values of `TrainConfig`.

Each loss, architecture, data source and optimiser has its options beside its code; `TrainConfig` joins them.
`X as X` marks a name that other modules may import from here.
"""

from ganserve_training.config.choices import allowed_choices as allowed_choices
from ganserve_training.config.choices import owners as owners
from ganserve_training.config.choices import with_choices as with_choices
from ganserve_training.config.train import OutputConfig as OutputConfig
from ganserve_training.config.train import Precision as Precision
from ganserve_training.config.train import ScheduleConfig as ScheduleConfig
from ganserve_training.config.train import TrainConfig as TrainConfig
from ganserve_training.data.config import DataConfig as DataConfig
from ganserve_training.data.config import register_source as register_source
from ganserve_training.data.sources.array import ArrayConfig as ArrayConfig
from ganserve_training.data.sources.cifar10 import Cifar10Config as Cifar10Config
from ganserve_training.data.sources.digits import DigitsConfig as DigitsConfig
from ganserve_training.data.sources.folder import FolderConfig as FolderConfig
from ganserve_training.data.sources.gaussians import GridConfig as GridConfig
from ganserve_training.data.sources.gaussians import RingConfig as RingConfig
from ganserve_training.data.sources.idx import IdxConfig as IdxConfig
from ganserve_training.data.sources.parquet import ParquetConfig as ParquetConfig
from ganserve_training.data.sources.patches import PatchesConfig as PatchesConfig
from ganserve_training.data.sources.stacked_digits import StackedDigitsConfig as StackedDigitsConfig
from ganserve_training.diagnosis.config import DiagnosisConfig as DiagnosisConfig
from ganserve_training.networks.config import CodesConfig as CodesConfig
from ganserve_training.networks.config import NetworksConfig as NetworksConfig
from ganserve_training.networks.config import register_architecture as register_architecture
from ganserve_training.networks.convolutional import ConvolutionalConfig as ConvolutionalConfig
from ganserve_training.networks.custom import CustomConfig as CustomConfig
from ganserve_training.networks.dcgan import DcganConfig as DcganConfig
from ganserve_training.networks.ema import EmaConfig as EmaConfig
from ganserve_training.networks.mlp import MlpConfig as MlpConfig
from ganserve_training.networks.progressive import ProgressiveConfig as ProgressiveConfig
from ganserve_training.networks.r3gan import R3ganConfig as R3ganConfig
from ganserve_training.networks.residual import ResidualConfig as ResidualConfig
from ganserve_training.objectives.adaptive_augmentation import AdaConfig as AdaConfig
from ganserve_training.objectives.augmentation import AugmentationConfig as AugmentationConfig
from ganserve_training.objectives.losses import HingeLoss as HingeLoss
from ganserve_training.objectives.losses import LeastSquaresLoss as LeastSquaresLoss
from ganserve_training.objectives.losses import Loss as Loss
from ganserve_training.objectives.losses import MinimaxLoss as MinimaxLoss
from ganserve_training.objectives.losses import ModifiedMinimaxLoss as ModifiedMinimaxLoss
from ganserve_training.objectives.losses import RelativisticAverageLoss as RelativisticAverageLoss
from ganserve_training.objectives.losses import RelativisticPairingLoss as RelativisticPairingLoss
from ganserve_training.objectives.losses import WassersteinLoss as WassersteinLoss
from ganserve_training.objectives.losses import register_loss as register_loss
from ganserve_training.objectives.penalties import GradientPenalty as GradientPenalty
from ganserve_training.objectives.penalties import RegularisersConfig as RegularisersConfig
from ganserve_training.objectives.penalties import register_penalty as register_penalty
from ganserve_training.options.anneal import Anneal as Anneal
from ganserve_training.run.optimisers import AdamConfig as AdamConfig
from ganserve_training.run.optimisers import OptimiserConfig as OptimiserConfig
from ganserve_training.run.optimisers import OptimisersConfig as OptimisersConfig
from ganserve_training.run.optimisers import RmspropConfig as RmspropConfig
from ganserve_training.run.optimisers import SgdConfig as SgdConfig
from ganserve_training.run.optimisers import register_optimiser as register_optimiser
