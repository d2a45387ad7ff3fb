"""Callbacks that measure what dropout does inside a model while it trains."""

from keras_dropx.callbacks.active_fraction import ActiveFraction
from keras_dropx.callbacks.gradient_information import GradientInformation
from keras_dropx.callbacks.moment_drift import MomentDrift
from keras_dropx.callbacks.net_distribution import NetDistribution
from keras_dropx.callbacks.net_variance import NetVariance
from keras_dropx.callbacks.reestimate_batch_norm import ReestimateBatchNorm
from keras_dropx.callbacks.unit_correlation import UnitCorrelation

__all__ = [
    "ActiveFraction",
    "GradientInformation",
    "MomentDrift",
    "NetDistribution",
    "NetVariance",
    "ReestimateBatchNorm",
    "UnitCorrelation",
]
