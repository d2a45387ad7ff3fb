"""Data sets: opened by one door, drawn, prepared, batched."""

from keras_dropx.experiments.data.datasets import load
from keras_dropx.experiments.data.opening import open_data

__all__ = ["load", "open_data"]
