"""Puts augmented dropout into a model that exists already, and trains on.

Layer names, weights, predictions and compilation stay what they were, so a
model can be converted in the middle of its training. A nested model and a
network of `keras.applications` are converted alike.
"""

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_dropx

keras.utils.set_random_seed(0)
x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(
    x.astype("float32").reshape(-1, 8, 8, 1) / 16,
    y,
    train_size=300,
    stratify=y,
    random_state=0,
)

features = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        keras.layers.Conv2D(32, 3, activation="relu"),
        keras.layers.SpatialDropout2D(0.1, name="drop_channels"),
        keras.layers.Conv2D(64, 3, activation="relu"),
        keras.layers.GlobalMaxPooling2D(),
    ],
    name="features",
)
inputs = keras.Input((8, 8, 1))
outputs = keras.layers.Dropout(0.5, name="drop")(features(inputs))
outputs = keras.layers.Dense(10, name="logits")(outputs)
model = keras.Model(inputs, outputs)
model.compile(
    optimizer=keras.optimizers.Adam(3e-3),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
model.fit(x_train, y_train, epochs=20, batch_size=50, verbose=0)
_, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"before: test accuracy {accuracy:.1%}")


def augmented(old):
    return keras_dropx.layers.AugmentedDropout(old.rate, backward_rate=1e-4)


new = keras_dropx.models.replace_dropout(model, augmented)
same = np.array_equal(
    model.predict(x_test, verbose=0), new.predict(x_test, verbose=0)
)
print("same predictions:", same)
# Spatial dropout drops whole channels, and so does what stands for it.
for layer in (
    new.get_layer("features").get_layer("drop_channels"),
    new.get_layer("drop"),
):
    kind = type(layer).__name__
    print(f"  {layer.name}: {kind}({layer.rate}), mask {layer.noise_shape}")

# Loss and metrics are those of the old model; the optimizer starts afresh.
new.fit(x_train, y_train, epochs=20, batch_size=50, verbose=0)
_, accuracy = new.evaluate(x_test, y_test, verbose=0)
print(f"after 20 more epochs: test accuracy {accuracy:.1%}")

# Dropout of whole residual branches stays that. `weights=None` keeps this
# offline.
network = keras.applications.EfficientNetB0(
    weights=None, input_shape=(32, 32, 3), classes=10
)
new = keras_dropx.models.replace_dropout(network, augmented)
replaced = sum(
    isinstance(layer, keras_dropx.layers.AugmentedDropout)
    for layer in new.layers
)
images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))
same = np.array_equal(network(images), new(images))
print(f"EfficientNetB0: {replaced} layers replaced, same predictions: {same}")
for name in ("block6d_drop", "top_dropout"):
    print(f"  {name}: mask {new.get_layer(name).noise_shape}")
