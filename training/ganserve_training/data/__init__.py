"""Data: what can be learned from, how it is split, and in which order training sees it."""

from ganserve_training.data.batches import BatchSource, InMemoryBatches
from ganserve_training.data.images import Images
from ganserve_training.data.info import DataInfo, from_network, to_network
from ganserve_training.data.order import ShuffledOrder
from ganserve_training.data.samples import Samples
from ganserve_training.data.sources import SplitName, load_split
from ganserve_training.data.vectors import Vectors

__all__ = [
    "BatchSource",
    "DataInfo",
    "Images",
    "InMemoryBatches",
    "Samples",
    "ShuffledOrder",
    "SplitName",
    "Vectors",
    "from_network",
    "load_split",
    "to_network",
]
