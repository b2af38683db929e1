"""Compute the normal distribution and its inverse, with the same bits as scipy's `ndtr` and `ndtri`.

scipy takes longer to import than the rest of the server, and 30 MiB. These are the rational approximations of its
source, the Cephes library (Moshier 1989, "Methods and programs for mathematical functions"), with the same operations
in the same order, so that the float64 results are the same.

`inverse_normal` returns float32, of which polynomials find all but a few in a million: 25 operations of numpy instead
of 90, each of which takes a microsecond on small arrays. It computes the few values by Cephes' approximation that the
polynomials' error could round to another float32.
"""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ratio = tuple[list[Floats], list[Floats]]
"""Coefficients of the numerator and the denominator, of the highest power first."""


def _arrays(*polynomials: Sequence[float]) -> Ratio:
    """Return zero-dimensional arrays: numpy takes half a microsecond to convert a number at each operation."""
    numerator, denominator = ([np.array(value) for value in values] for values in polynomials)
    return numerator, denominator


# Numerators and denominators of Cephes' ndtri.c.
# fmt: off
_CENTRE = _arrays(
    (-5.99633501014107895267e1, 9.80010754185999661536e1, -5.66762857469070293439e1, 1.39312609387279679503e1,
     -1.23916583867381258016e0),
    (1.0, 1.95448858338141759834e0, 4.67627912898881538453e0, 8.63602421390890590575e1, -2.25462687854119370527e2,
     2.00260212380060660359e2, -8.20372256168333339912e1, 1.59056225126211695515e1, -1.18331621121330003142e0),
)
_TAIL = _arrays(
    (4.05544892305962419923e0, 3.15251094599893866154e1, 5.71628192246421288162e1, 4.40805073893200834700e1,
     1.46849561928858024014e1, 2.18663306850790267539e0, -1.40256079171354495875e-1, -3.50424626827848203418e-2,
     -8.57456785154685413611e-4),
    (1.0, 1.57799883256466749731e1, 4.53907635128879210584e1, 4.13172038254672030440e1, 1.50425385692907503408e1,
     2.50464946208309415979e0, -1.42182922854787788574e-1, -3.80806407691578277194e-2, -9.33259480895457427372e-4),
)
_FAR_TAIL = _arrays(
    (3.23774891776946035970e0, 6.91522889068984211695e0, 3.93881025292474443415e0, 1.33303460815807542389e0,
     2.01485389549179081538e-1, 1.23716634817820021358e-2, 3.01581553508235416007e-4, 2.65806974686737550832e-6,
     6.23974539184983293730e-9),
    (1.0, 6.02427039364742014255e0, 3.67983563856160859403e0, 1.37702099489081330271e0, 2.16236993594496635890e-1,
     1.34204006088543189037e-2, 3.28014464682127739104e-4, 2.89247864745380683936e-6, 6.79019408009981274425e-9),
)
# Cephes' ndtr.c: erfc below and from 8 on, and erf.
_ERFC = (
    (2.46196981473530512524e-10, 5.64189564831068821977e-1, 7.46321056442269912687e0, 4.86371970985681366614e1,
     1.96520832956077098242e2, 5.26445194995477358631e2, 9.34528527171957607540e2, 1.02755188689515710272e3,
     5.57535335369399327526e2),
    (1.0, 1.32281951154744992508e1, 8.67072140885989742329e1, 3.54937778887819891062e2, 9.75708501743205489753e2,
     1.82390916687909736289e3, 2.24633760818710981792e3, 1.65666309194161350182e3, 5.57535340817727675546e2),
)
_FAR_ERFC = (
    (5.64189583547755073984e-1, 1.27536670759978104416e0, 5.01905042251180477414e0, 6.16021097993053585195e0,
     7.40974269950448939160e0, 2.97886665372100240670e0),
    (1.0, 2.26052863220117276590e0, 9.39603524938001434673e0, 1.20489539808096656605e1, 1.70814450747565897222e1,
     9.60896809063285878198e0, 3.36907645100081516050e0),
)
_ERF = (
    (9.60497373987051638749e0, 9.00260197203842689217e1, 2.23200534594684319226e3, 7.00332514112805075473e3,
     5.55923013010394962768e4),
    (1.0, 3.35617141647503099647e1, 5.21357949780152679795e2, 4.59432382970980127987e3, 2.26290000613890934246e4,
     4.92673942608635921086e4),
)
# fmt: on
_E_TO_MINUS_2 = 0.13533528323661269189
_SQRT_2PI = 2.50662827463100050242
_SQRT_HALF = 0.70710678118654752440
_MAX_LOG = 7.09782712893383996843e2
_FAR = 8.0
# Bounds the polynomials' error, which is at most 2^-48 of a value; float32 has steps of 2^-24.
_SLACK = 2.0**-45
_LOWER, _UPPER = np.array(1 - _SLACK), np.array(1 + _SLACK)
_HALF, _ONE = np.array(0.5), np.array(1.0)
# A polynomial of degree 5 for each 64th of an octave, down to 2^-54: latents have shares of at least 2^-53.
_DEGREE, _OCTAVES, _PARTS_BITS = 5, 53, 6
_SHIFT = np.array(52 - _PARTS_BITS)
_FIRST_BITS = _HALF.view(np.int64) >> _SHIFT


def inverse_normal(shares: Floats) -> NDArray[np.float32]:
    """Return for shares inside (0, 1), of any shape, the values below which the standard normal has these shares."""
    flat = shares.ravel()
    try:
        values = _interpolated(flat)
    except IndexError:  # Some shares are nearer to 0 than the polynomials reach.
        return _inverse(flat, _c_log).astype(np.float32).reshape(shares.shape)
    result: NDArray[np.float32] = (values * _LOWER).astype(np.float32)
    unsure = result != (values * _UPPER).astype(np.float32)
    if unsure.any():
        result[unsure] = _inverse(flat[unsure], _c_log)
    return result.reshape(shares.shape)


def _interpolated(shares: Floats) -> Floats:
    """Return the values, [N], with a relative error of at most 2^-48; raise IndexError if a share is below 2^-54."""
    y = np.minimum(shares, _ONE - shares)
    places = y.view(np.int64) >> _SHIFT
    np.subtract(_FIRST_BITS, places, out=places)  # 0.5 has place 0, and smaller numbers have larger places.
    rows = _polynomials().take(places, axis=0).T
    y -= rows[0]
    values: Floats = rows[1] * y
    for row in rows[2:-1]:
        values += row
        values *= y
    values += rows[-1]
    values *= shares - _HALF
    return values


@functools.cache
def _polynomials() -> Floats:
    """Return the polynomials for the quotient of the value and the share's distance to 0.5, float64 [P, 2 + degree].

    Each row has the centre of its interval and the coefficients, the highest power first. The first row is that of 0.5.
    """
    bits = _FIRST_BITS - np.arange(1, (_OCTAVES << _PARTS_BITS) + 1)
    low, high = ((bits + end << _SHIFT).view(np.float64) for end in (0, 1))
    centre, half_width = (low + high) / 2, (high - low) / 2
    nodes = np.cos(np.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1))  # Chebyshev's
    y = centre[:, None] + half_width[:, None] * nodes
    quotients = _inverse(y, np.log) / (y - 0.5)
    coefficients = quotients @ np.linalg.inv(np.vander(nodes)).T / half_width[:, None] ** np.arange(_DEGREE, -1, -1)
    at_half = [0.5, *[0.0] * _DEGREE, _SQRT_2PI]
    return np.vstack([at_half, np.column_stack([centre, coefficients])])


@functools.lru_cache(maxsize=1024)
def normal_share(value: float) -> float:
    """Return the share of the standard normal below a value: Phi."""
    x = value * _SQRT_HALF
    z = abs(x)
    if z < 1:
        return 0.5 + 0.5 * _erf(x)
    share = 0.5 * _erfc(z)
    return 1.0 - share if x > 0 else share


def _erf(x: float) -> float:
    z = x * x
    return x * _polynomial(z, _ERF[0]) / _polynomial(z, _ERF[1])


def _erfc(z: float) -> float:
    """Return erfc of a number of at least 1 / sqrt(2)."""
    if z < 1:
        return 1.0 - _erf(z)
    exponent = -z * z
    if exponent < -_MAX_LOG:
        return 0.0
    numerator, denominator = _ERFC if z < _FAR else _FAR_ERFC
    return math.exp(exponent) * _polynomial(z, numerator) / _polynomial(z, denominator)


def _polynomial(z: float, coefficients: Sequence[float]) -> float:
    value = coefficients[0]
    for coefficient in coefficients[1:]:
        value = value * z + coefficient
    return value


def _inverse(shares: Floats, log: Callable[[Floats], Floats]) -> Floats:
    """Return the values in float64 as Cephes does, with a logarithm of choice."""
    is_upper = shares > 1.0 - _E_TO_MINUS_2
    y = np.where(is_upper, 1.0 - shares, shares)
    values = y - 0.5
    square = values * values
    values += values * _ratio(square, _CENTRE)
    values *= _SQRT_2PI
    outside = y <= _E_TO_MINUS_2
    x = np.sqrt(-2.0 * log(y[outside]))
    z = 1.0 / x
    correction = _ratio(z, _TAIL)
    if (far := x >= _FAR).any():
        correction[far] = _ratio(z[far], _FAR_TAIL)
    tail = x - log(x) / x - correction
    values[outside] = np.where(is_upper[outside], tail, -tail)
    return values


def _ratio(z: Floats, ratio: Ratio) -> Floats:
    """Return z times the ratio of two polynomials of z."""
    result = _horner(z, ratio[0])
    result *= z
    result /= _horner(z, ratio[1])
    return result


def _horner(z: Floats, coefficients: Sequence[Floats]) -> Floats:
    value = z * coefficients[0]
    for coefficient in coefficients[1:-1]:
        value += coefficient
        value *= z
    value += coefficients[-1]
    return value


def _c_log(values: Floats) -> Floats:
    return np.array([math.log(value) for value in values.tolist()])
