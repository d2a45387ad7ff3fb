"""Baselines that the papers' tables name, and control methods of our own."""

from keras_dropx.experiments.baselines.concrete_dropout import ConcreteDropout
from keras_dropx.experiments.baselines.distill import distill
from keras_dropx.experiments.baselines.expectation_linear import (
    ExpectationLinear,
)
from keras_dropx.experiments.baselines.link_kernels import link_kernels
from keras_dropx.experiments.baselines.noise_matched_dropout import (
    NoiseMatchedDropout,
)
from keras_dropx.experiments.baselines.smoothed_gradient_dense import (
    SmoothedGradientDense,
)

__all__ = [
    "ConcreteDropout",
    "ExpectationLinear",
    "NoiseMatchedDropout",
    "SmoothedGradientDense",
    "distill",
    "link_kernels",
]
