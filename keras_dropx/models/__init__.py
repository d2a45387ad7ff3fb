"""Functions that take a whole model."""

from keras_dropx.models.batch_norm import reestimate_batch_norm

__all__ = ["reestimate_batch_norm"]
