import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_dropx.layers import AugmentedDropout
from keras_dropx.models import replace_dropout


def test_vocabularies_are_copied():
    lookup = layers.StringLookup()
    lookup.adapt(np.array(["a", "b", "b"]))
    words = keras.Input((1,), dtype="string")
    x = layers.Dropout(0.5)(layers.Embedding(3, 4)(lookup(words)))
    model = keras.Model(words, [x, lookup(words)])
    new = replace_dropout(model, lambda old: AugmentedDropout(old.rate))
    column = tf.constant([["b"], ["a"], ["c"]])
    ours, theirs = (m.predict(column, verbose=0) for m in (new, model))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
    assert ours[1].tolist() == [[1], [2], [0]]
