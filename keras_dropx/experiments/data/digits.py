"""The TFDS builder of `digits`, the data set that needs no download."""

import numpy as np
import tensorflow_datasets as tfds

DESCRIPTION = """
1,797 images of handwritten digits, 8x8 pixels; a pixel is the number, 0 to 16,
of set pixels in a 4x4 block of a 32x32 bitmap. The test part of the UCI
set (writers that its training part does not have), as scikit-learn bundles it
in `load_digits`.
"""
HOMEPAGE = (
    "https://archive.ics.uci.edu/dataset/80/"
    "optical+recognition+of+handwritten+digits"
)
CITATION = """
@misc{alpaydin1998optical,
  author = {Alpaydin, Ethem and Kaynak, Cenk},
  title = {Optical Recognition of Handwritten Digits},
  year = {1998},
  howpublished = {UCI Machine Learning Repository},
  doi = {10.24432/C50P49},
}
"""


class Digits(tfds.core.GeneratorBasedBuilder):
    """Builds `digits`: the 1,797 handwritten digits bundled in scikit-learn.

    Features: `image`, uint8 of shape (8, 8, 1) with values 0..16, and `label`,
    0..9. Splits, stratified by label and always the same: `train` (1,437
    images) and `test` (360).
    """

    name = "digits"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The images of scikit-learn's `load_digits`."}

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description=DESCRIPTION,
            # Raw bytes keep 0..16 exactly, are smaller than PNG and are
            # written four times as fast.
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(
                        shape=(8, 8, 1), dtype=np.uint8, encoding="bytes"
                    ),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            homepage=HOMEPAGE,
            citation=CITATION,
        )

    def _split_generators(self, dl_manager):
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        images = digits.images.astype("uint8")[..., np.newaxis]
        labels = digits.target
        train, test = train_test_split(
            np.arange(len(labels)),
            test_size=360,
            stratify=labels,
            random_state=0,
        )
        return {
            "train": self._generate_examples(images, labels, train),
            "test": self._generate_examples(images, labels, test),
        }

    def _generate_examples(self, images, labels, indices):
        for i in indices:
            yield int(i), {"image": images[i], "label": labels[i]}
