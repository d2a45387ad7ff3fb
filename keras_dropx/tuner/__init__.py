"""Search spaces for KerasTuner. Needs the extra `tuner`."""

try:
    import keras_tuner  # noqa: F401
except ImportError as error:
    raise ImportError(
        "keras_dropx.tuner needs KerasTuner: pip install 'keras-dropx[tuner]'"
    ) from error

from keras_dropx.tuner.hypermodel import DropoutHyperModel
from keras_dropx.tuner.search_spaces import (
    any_dropout,
    augmented_dropout,
    gaaf,
    jumpout,
)

__all__ = [
    "DropoutHyperModel",
    "any_dropout",
    "augmented_dropout",
    "gaaf",
    "jumpout",
]
