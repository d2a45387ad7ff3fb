"""The transformer block of keras.io, with `get_config` and without."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_dropx.layers import AugmentedDropout
from keras_dropx.models import monte_carlo_predict, replace_dropout
from keras_dropx.models.in_place import stand_in

pytestmark = [
    pytest.mark.full,
    # Of Keras, where it loads a block without a `build`.
    pytest.mark.filterwarnings("ignore:`build.* was called on layer"),
]
RNG = np.random.default_rng(0)
X = RNG.integers(20, size=(12, 6))
Y = X[:, 0] % 2


class TransformerBlock(layers.Layer):
    """https://keras.io/examples/nlp/text_classification_with_transformer"""

    def __init__(self, embed_dim, num_heads, ff_dim, rate=0.1, **kwargs):
        super().__init__(**kwargs)
        self.att = layers.MultiHeadAttention(num_heads, embed_dim)
        self.ffn = keras.Sequential(
            [layers.Dense(ff_dim, activation="relu"), layers.Dense(embed_dim)]
        )
        self.layernorm1 = layers.LayerNormalization(epsilon=1e-6)
        self.layernorm2 = layers.LayerNormalization(epsilon=1e-6)
        self.dropout1 = layers.Dropout(rate)
        self.dropout2 = layers.Dropout(rate)

    def call(self, inputs, training=None):
        attn_output = self.att(inputs, inputs)
        attn_output = self.dropout1(attn_output, training=training)
        out1 = self.layernorm1(inputs + attn_output)
        ffn_output = self.ffn(out1)
        ffn_output = self.dropout2(ffn_output, training=training)
        return self.layernorm2(out1 + ffn_output)


@keras.saving.register_keras_serializable("tests")
class WithConfig(TransformerBlock):
    def __init__(self, embed_dim, num_heads, ff_dim, rate=0.1, **kwargs):
        super().__init__(embed_dim, num_heads, ff_dim, rate, **kwargs)
        self.sizes = {
            "embed_dim": embed_dim,
            "num_heads": num_heads,
            "ff_dim": ff_dim,
            "rate": rate,
        }

    def get_config(self):
        return {**super().get_config(), **self.sizes}


def classifier(block):
    inputs = keras.Input((6,))
    x = layers.Embedding(20, 8)(inputs)
    x = block(8, 2, 8, 0.5)(x)
    x = layers.GlobalAveragePooling1D()(x)
    x = layers.Dropout(0.1, name="last")(x)
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(x))
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def augmented(old):
    return AugmentedDropout(old.rate, 0.3)


def dropping(model):
    return [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, layers.Dropout) and layer.rate > 0
    ]


@pytest.mark.parametrize("block", [TransformerBlock, WithConfig])
def test_it_is_trained_saved_and_copied_as_the_docs_say(block, tmp_path):
    model = classifier(block)
    before = model.get_weights()
    replace_dropout(model, augmented, in_place=True)
    assert len(dropping(model)) == 3 and all(map(stand_in, dropping(model)))
    model.fit(X, Y, verbose=0)
    assert all(map(stand_in, dropping(model)))
    moved = zip(before, model.get_weights(), strict=True)
    assert not all(np.array_equal(*pair) for pair in moved)
    expected = ops.convert_to_numpy(model(X))
    samples = monte_carlo_predict(model, X, samples=2, verbose=0)
    assert not np.array_equal(*samples)
    model.save_weights(tmp_path / "model.weights.h5")
    twin = classifier(block)
    twin.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(ops.convert_to_numpy(twin(X)), expected)
    model.save(tmp_path / "model.keras")
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    with pytest.warns(UserWarning, match=block.__name__) as caught:
        copy = replace_dropout(model, augmented)
    # Keras' arrays of JAX warn of NumPy besides.
    assert [w.category for w in caught].count(UserWarning) == 1
    assert type(copy.get_layer("last")) is AugmentedDropout
    loaded = keras.models.load_model(
        tmp_path / "model.keras", {"TransformerBlock": TransformerBlock}
    )
    for other in (loaded, clone, copy):
        np.testing.assert_array_equal(ops.convert_to_numpy(other(X)), expected)
        assert not any(map(stand_in, dropping(other)))
        replace_dropout(other, augmented, in_place=True)
        assert all(map(stand_in, dropping(other)))
