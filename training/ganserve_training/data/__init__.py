"""Data: what can be learned from, how it is split, and in which order training sees it."""

from ganserve_training.data.batches import BatchSource, InMemoryBatches
from ganserve_training.data.images import DataInfo, Images, to_float, to_uint8
from ganserve_training.data.order import ShuffledOrder
from ganserve_training.data.sources import SplitName, load_split

__all__ = [
    "BatchSource",
    "DataInfo",
    "Images",
    "InMemoryBatches",
    "ShuffledOrder",
    "SplitName",
    "load_split",
    "to_float",
    "to_uint8",
]
