"""Data sets: opened by one door, drawn, prepared, batched."""

from keras_dropx.experiments.data.datasets import (
    DatasetError,
    arrays,
    load,
)
from keras_dropx.experiments.data.opening import open_data

__all__ = ["DatasetError", "arrays", "load", "open_data"]
