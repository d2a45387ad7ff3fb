"""Baselines that the papers' tables name, and control arms of our own."""

from keras_dropx.experiments.baselines.noise_matched_dropout import (
    NoiseMatchedDropout,
)
from keras_dropx.experiments.baselines.smoothed_gradient_dense import (
    SmoothedGradientDense,
)

__all__ = ["NoiseMatchedDropout", "SmoothedGradientDense"]
