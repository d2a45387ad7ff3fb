"""Dropout for Keras 3: forward and backward masks, Jumpout and GAAF."""

from keras_dropx import callbacks, layers, models

__version__ = "0.1.0"

__all__ = ["__version__", "callbacks", "layers", "models"]
