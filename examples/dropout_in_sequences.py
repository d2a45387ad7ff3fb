"""Puts dropout into a transformer block and around an LSTM.

Digits are read as 8 tokens, one for each row of 8 pixels. In the transformer
masks stand after the embedding and before each residual sum. In the LSTM one
mask serves a whole sequence: the last lines show how little of a memory masks
drawn anew at each step would leave.
"""

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_dropx

keras.utils.set_random_seed(0)
x, y = load_digits(return_X_y=True)
rows = x.astype("float32").reshape(-1, 8, 8) / 16
# The number of the row, one-hot: the first Dense then embeds pixels and
# position, and adds the two.
position = np.broadcast_to(np.eye(8, dtype="float32"), rows.shape)
x_train, x_test, y_train, y_test = train_test_split(
    np.concatenate([rows, position], -1),
    y,
    train_size=1000,
    stratify=y,
    random_state=0,
)

inputs = keras.Input((8, 16))
h = keras.layers.Dense(64)(inputs)
h = keras_dropx.layers.AugmentedDropout(0.1)(h)
normed = keras.layers.LayerNormalization()(h)
# The weights of attention are inside the layer: their dropout is Keras' own.
attended = keras.layers.MultiHeadAttention(4, 16, dropout=0.1)(normed, normed)
h = h + keras_dropx.layers.AugmentedDropout(0.1)(attended)
normed = keras.layers.LayerNormalization()(h)
fed = keras.layers.Dense(128, activation="gelu")(normed)
fed = keras.layers.Dense(64)(fed)
h = h + keras_dropx.layers.AugmentedDropout(0.1)(fed)
h = keras.layers.LayerNormalization()(h)
h = keras.layers.GlobalAveragePooling1D()(h)
transformer = keras.Model(inputs, keras.layers.Dense(10)(h))

inputs = keras.Input((8, 16))
h = keras.layers.Dense(64, activation="relu")(inputs)
# One mask for all steps of a sequence. The state in the LSTM is out of reach
# of a layer around it; its `recurrent_dropout`, too, keeps one mask.
h = keras_dropx.layers.AugmentedDropout(0.2, noise_shape=(None, 1, None))(h)
h = keras.layers.LSTM(64, recurrent_dropout=0.2)(h)
h = keras_dropx.layers.AugmentedDropout(0.2)(h)
lstm = keras.Model(inputs, keras.layers.Dense(10)(h))

for name, model in (("transformer", transformer), ("LSTM", lstm)):
    model.compile(
        optimizer=keras.optimizers.Adam(3e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(x_train, y_train, epochs=20, batch_size=50, verbose=0)
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"{name}: test accuracy {accuracy:.1%}")

# A unit keeps what it carries through T steps only if no step drops it: the
# share of such units is (1 - p)^T under new masks, 1 - p under one mask.
rate, steps = 0.2, 8
ones = np.ones((1, steps, 100_000), "float32")
for name, noise_shape, expected in (
    ("a mask for each step", None, (1 - rate) ** steps),
    ("one mask for all", (None, 1, None), 1 - rate),
):
    layer = keras_dropx.layers.AugmentedDropout(rate, noise_shape=noise_shape)
    masked = keras.ops.convert_to_numpy(layer(ones, training=True))
    kept = np.mean(masked.all(axis=1))
    print(f"{name}: {kept:.3f} kept over {steps} steps, law {expected:.3f}")
