"""Data sets: opened by one door, drawn, prepared, batched."""

from keras_dropx.experiments.data.datasets import (
    DatasetError,
    Subsets,
    arrays,
    load,
    subsets,
)
from keras_dropx.experiments.data.opening import open_data

__all__ = [
    "DatasetError",
    "Subsets",
    "arrays",
    "load",
    "open_data",
    "subsets",
]
