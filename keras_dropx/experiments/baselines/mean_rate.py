import functools

import numpy as np
from scipy import optimize, special

MIN_RATE, MAX_RATE = 0.01, 0.6


def mean_rate(sigma):
    """Returns E[min(min_rate + |N(0, σ)|, max_rate)] of Jumpout's defaults."""
    width = MAX_RATE - MIN_RATE
    a = width / sigma
    tail = special.erfc(a / np.sqrt(2))  # P(|N| > a)
    part = np.sqrt(2 / np.pi) * -np.expm1(-(a**2) / 2)
    return float(MIN_RATE + sigma * part + width * tail)


@functools.cache
def sigma_of(rate):
    """Returns the σ with which Jumpout's mean p, before p / q⁺, is `rate`.

    Raises:
        ValueError: If no σ does: p lies between 0.01 and 0.6.
    """
    if not MIN_RATE < rate < MAX_RATE - 0.005:
        raise ValueError(
            "Invalid value received for argument `methods`. Expected rates "
            f"between {MIN_RATE} and {MAX_RATE - 0.005} at all sites for "
            f"'jumpout', whose mean p is to be the rate. Received: a site of "
            f"rate {rate}"
        )
    return float(optimize.brentq(lambda s: mean_rate(s) - rate, 1e-6, 1e3))
