"""Functions that take a whole model."""

from keras_dropx.models.batch_norm import reestimate_batch_norm
from keras_dropx.models.monte_carlo import monte_carlo_predict, summarize
from keras_dropx.models.replace_dropout import replace_dropout
from keras_dropx.models.scaling import scale_for_dropout, scale_for_inference
from keras_dropx.models.sharpness import sharpness

__all__ = [
    "monte_carlo_predict",
    "reestimate_batch_norm",
    "replace_dropout",
    "scale_for_dropout",
    "scale_for_inference",
    "sharpness",
    "summarize",
]
