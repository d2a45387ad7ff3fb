"""Trains a small network with augmented dropout, then saves and reloads it.

Runs offline in seconds: python examples/quick_start.py
"""

import tempfile
from pathlib import Path

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_dropx

keras.utils.set_random_seed(0)
x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(
    x.astype("float32") / 16, y, train_size=300, stratify=y, random_state=0
)

model = keras.Sequential(
    [
        keras.Input((64,)),
        keras.layers.Dense(256, activation="relu"),
        keras_dropx.layers.AugmentedDropout(0.5, backward_rate=1e-4),
        keras.layers.Dense(256, activation="relu"),
        keras_dropx.layers.AugmentedDropout(0.5, backward_rate=1e-4),
        keras.layers.Dense(10),
    ]
)
model.compile(
    optimizer="adam",
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
model.fit(x_train, y_train, epochs=60, batch_size=50, verbose=0)
print("loss, accuracy:", model.evaluate(x_test, y_test, verbose=0))

# Nothing but `import keras_dropx` is needed to load it again.
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "model.keras"
    model.save(path)
    copy = keras.models.load_model(path)
print("reloaded:", copy.evaluate(x_test, y_test, verbose=0))
