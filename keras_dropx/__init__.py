"""Dropout for Keras 3: forward and backward masks, Jumpout and GAAF."""

from keras_dropx import layers, models

__version__ = "0.1.0"

__all__ = ["__version__", "layers", "models"]
