"""Draw latents and labels from a seed and an index: the reproducibility contract.

N = samples, Z = values of one latent, B = blocks of one sample, K = labels.

This is the algorithm, for ports to other languages. All numbers come from Philox4x64-10 (Salmon et al. 2011, "Parallel
random numbers: as easy as 1, 2, 3"; Random123's `philox4x64`), which maps a 256-bit counter and a 128-bit key to a
block of four 64-bit words.

- The key is (seed, purpose): purpose 1 for latents, 2 for labels, 3 for the acceptance of proposals.
- A sample takes B = ceil(V / 4) blocks, where V is how many words it needs: Z for latents, 1 for a label, 1 for an
  acceptance. Block b of sample i has the counter i * B + b, a 128-bit number in the two lower counter words; the two
  upper ones are 0. The sample's words are those of its blocks in order, and the first V of them are used.
- Normal latents: u = (floor(w / 2^12) + 0.5) / 2^52, which lies inside (0, 1), and z = Phi^-1(u) in float64, rounded to
  float32. With truncation t: a = Phi(-t), z = Phi^-1(a + u * (1 - 2 a)), clipped to the float32 numbers in [-t, t]. The
  words do not depend on t, so a sample varies continuously with it.
- Uniform latents: z = floor(w / 2^40) / 2^23 - 1, exact in float32.
- Controls (InfoGAN's continuous codes), unless the request sets them: the default that the manifest declares, else
  z = low + floor(w / 2^40) / 2^24 * (high - low) in float64, rounded to float32, where w is the word of the control's
  own place in the latent. On [-1, 1] that is the uniform latent. Truncation does not apply, and setting one changes no
  other value.
- Labels: floor(floor(w / 2^32) * K / 2^32).
- Selection: with m proposals per sample, proposal j of sample i has the latent of sample i * m + j and the label of
  sample i. Discriminator rejection sampling (`sampling.rejection_sampling`) accepts it if
  u = (floor(w / 2^12) + 0.5) / 2^52 is below its acceptance probability, where w is the acceptance word of sample
  i * m + j.

Sample i therefore depends on (seed, i, distribution, Z, t, K, controls) and on nothing else, and samples i to i + n are
one contiguous range of counters. Phi and its inverse have the bits of scipy's `ndtr` and `ndtri`
(`normal_distribution`); another implementation of them can differ in the last bit of the float32.
"""

import enum
import math
import secrets
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ganserve_server.models.latent_types import Control, Distribution
from ganserve_server.models.normal_distribution import inverse_normal, normal_share

MAX_INDEX = 2**48
"""Upper limit of offset + count."""

WORDS_PER_BLOCK = 4
_MASK_64 = 2**64 - 1
# Zero-dimensional arrays: numpy takes half a microsecond to convert a number at each operation.
_UPPER_52, _EXPONENT_OF_1 = np.array(12, np.uint64), np.array(0x3FF << 52, np.uint64)
_BELOW_1 = np.array(1 - 2.0**-53)


class Purpose(enum.IntEnum):
    """The use of random words; the second half of the key."""

    LATENTS = 1
    LABELS = 2
    ACCEPTANCE = 3


def draw_seed() -> int:
    """Return a random seed from the operating system, below 2^53 so that JSON and JavaScript keep it exact."""
    return secrets.randbits(53)


def random_words(seed: int, purpose: Purpose, start: int, count: int, words: int) -> NDArray[np.uint64]:
    """Return uint64 [N, words]: the random words of N = `count` samples from index `start` on."""
    blocks = -(-words // WORDS_PER_BLOCK)
    raw = _philox_words(seed, purpose, start * blocks, count * blocks)
    return raw.reshape(count, blocks * WORDS_PER_BLOCK)[:, :words]


def latents_from_words(
    words: NDArray[np.uint64],
    distribution: Distribution,
    truncations: NDArray[np.float64] | None = None,
    controls: Sequence[Control] = (),
) -> NDArray[np.float32]:
    """Map random words, uint64 [N, Z], to latents, float32 [N, Z], each value independently.

    `truncations`, only for normal latents, are float64 [N], with infinity for samples without truncation; None if no
    sample has one. All `controls` without a default are drawn; `distribution` is that of the other values.
    """
    latents = _mapped(words, distribution, truncations)
    for control in controls:
        if control.default is not None:
            latents[:, control.index] = control.default
            continue
        shares = (words[:, control.index] >> np.uint64(40)).astype(np.float64) * 2.0**-24
        latents[:, control.index] = control.low + shares * (control.high - control.low)
    return latents


def _mapped(
    words: NDArray[np.uint64], distribution: Distribution, truncations: NDArray[np.float64] | None
) -> NDArray[np.float32]:
    if distribution is Distribution.UNIFORM:
        return (words >> np.uint64(40)).astype(np.float32) * np.float32(2**-23) - np.float32(1)
    uniform = _inside_unit(words)
    if truncations is None:
        return inverse_normal(uniform)
    tail = np.array([normal_share(-truncation) for truncation in truncations.tolist()])[:, None]
    uniform *= 1 - 2 * tail
    uniform += tail
    bound = _largest_float32_up_to(truncations)[:, None]
    return np.clip(inverse_normal(uniform), -bound, bound)


def _inside_unit(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Map random words to numbers inside (0, 1)."""
    # The numbers defined above, without a conversion: 52 bits after the exponent of 1 make a float64 from 1 to 2.
    bits = words >> _UPPER_52
    bits |= _EXPONENT_OF_1
    uniform: NDArray[np.float64] = bits.view(np.float64)
    uniform -= _BELOW_1
    return uniform


def labels_from_words(words: NDArray[np.uint64], label_count: int) -> NDArray[np.int64]:
    """Map random words [N] to labels int64 [N], uniform on 0 to label_count - 1 (bias below label_count / 2^32)."""
    return ((words >> np.uint64(32)) * np.uint64(label_count) >> np.uint64(32)).astype(np.int64)


def draw_latents(
    seed: int,
    start: int,
    count: int,
    dimension: int,
    distribution: Distribution,
    truncation: float | None = None,
    controls: Sequence[Control] = (),
) -> NDArray[np.float32]:
    """Return the latents float32 [N, Z] of samples start to start + count of a seed."""
    words = random_words(seed, Purpose.LATENTS, start, count, dimension)
    truncations = None if truncation is None else np.full(count, truncation)
    return latents_from_words(words, distribution, truncations, controls)


def draw_labels(seed: int, start: int, count: int, label_count: int) -> NDArray[np.int64]:
    """Return the labels int64 [N] of samples start to start + count of a seed, if the request names none."""
    return labels_from_words(random_words(seed, Purpose.LABELS, start, count, 1)[:, 0], label_count)


def draw_acceptances(seed: int, start: int, count: int) -> NDArray[np.float64]:
    """Return the uniform numbers float64 [N] that acceptance probabilities are compared with."""
    return _inside_unit(random_words(seed, Purpose.ACCEPTANCE, start, count, 1)[:, 0])


_thread = threading.local()
# numpy reads tuples four times as fast as arrays, value by value.
_STATE = {
    "bit_generator": "Philox",
    "buffer": (0,) * WORDS_PER_BLOCK,
    "buffer_pos": WORDS_PER_BLOCK,
    "has_uint32": 0,
    "uinteger": 0,
}


def _philox_words(seed: int, purpose: Purpose, first_block: int, blocks: int) -> NDArray[np.uint64]:
    """Return uint64 [4 * blocks]. Setting the state of a thread's generator is ten times faster than making one."""
    if not hasattr(_thread, "philox"):
        _thread.philox = np.random.Philox(key=0)
    # numpy increments the counter before it makes a block, so the state c - 1 gives the block of counter c.
    if 0 < first_block <= _MASK_64:
        counter = first_block - 1, 0, 0, 0
    else:
        before = (first_block - 1) % 2**256
        counter = before & _MASK_64, before >> 64 & _MASK_64, before >> 128 & _MASK_64, before >> 192
    philox = _thread.philox
    philox.state = {**_STATE, "state": {"counter": counter, "key": (seed, purpose)}}
    words: NDArray[np.uint64] = philox.random_raw(blocks * WORDS_PER_BLOCK)
    return words


def _largest_float32_up_to(values: NDArray[np.float64]) -> NDArray[np.float32]:
    # A truncation beyond float32's range truncates nothing.
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    return np.where(rounded > values, np.nextafter(rounded, np.float32(-math.inf)), rounded)
