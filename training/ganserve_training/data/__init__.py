"""Load samples, split them, and serve them to training in batches."""

from ganserve_training.data.bad_files import BadFiles
from ganserve_training.data.batches import BatchSource, InMemoryBatches, make_batches
from ganserve_training.data.load_samples import load_split
from ganserve_training.data.sample_info import DataInfo, from_network, to_network
from ganserve_training.data.sample_order import ClassBalancedOrder, ShuffledOrder
from ganserve_training.data.samples import Samples
from ganserve_training.data.samples_in_memory import Images, Vectors
from ganserve_training.data.sources.gaussians import GRID_SIGMA, RING_SIGMA, grid_centres, ring_centres
from ganserve_training.data.storage.stored_images import StoredImages
