import numpy as np
import pytest
from scipy import integrate, stats

from keras_dropx.experiments.baselines.mean_rate import mean_rate, sigma_of


def test_mean_rate_is_the_integral():
    for sigma in (0.05, 0.2, 0.7):
        normal = stats.norm(scale=sigma)
        inner, _ = integrate.quad(
            lambda p, normal=normal: (0.01 + p) * 2 * normal.pdf(p), 0, 0.59
        )
        atom = 0.6 * 2 * normal.sf(0.59)
        assert mean_rate(sigma) == pytest.approx(inner + atom, rel=1e-8)


def test_sigma_of_a_rate_has_it_as_its_mean():
    rng = np.random.default_rng(1)
    for rate in (0.05, 0.3, 0.5):
        sigma = sigma_of(rate)
        assert mean_rate(sigma) == pytest.approx(rate, abs=1e-9)
        p = np.minimum(0.01 + abs(rng.normal(size=10**6)) * sigma, 0.6)
        assert p.mean() == pytest.approx(rate, abs=4 * p.std() / 1e3)


def test_rates_that_no_sigma_has():
    for rate in (0.01, 0.6):
        with pytest.raises(ValueError, match=f"a site of rate {rate}"):
            sigma_of(rate)
