"""Measures on digits what the papers say dropout and GAAF do inside.

Gradients grow under dropout in every layer, the output layer's too, because
the loss is larger: only what is left after dividing by the output error bears
on gradients that reach further down. GAAF lets net values move to where tanh
is flat. Writes the pictures of the papers into the folder given as first
argument, by default the current one.
"""

import sys
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_dropx
from keras_dropx import callbacks

x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(
    x.astype("float32") / 16, y, train_size=300, stratify=y, random_state=0
)
folder = Path(*sys.argv[1:2])

arms = {
    "plain": ("tanh", 0.0),
    "dropout": ("tanh", 0.5),
    "gaaf": (keras_dropx.layers.GAAF, 0.0),
}
measured = {}
for name, (activation, rate) in arms.items():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((64,))])
    for number in (1, 2, 3):
        phi = activation if activation == "tanh" else activation("tanh")
        model.add(keras.layers.Dense(128, phi, name=f"hidden_{number}"))
        model.add(keras_dropx.layers.AugmentedDropout(rate))
    model.add(keras.layers.Dense(10, name="logits"))
    model.compile(
        optimizer=keras.optimizers.SGD(0.03, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    watching = {
        "gradients": callbacks.GradientInformation(
            data=(x_train[:100], y_train[:100])
        ),
        "variance": callbacks.NetVariance(x_test[:200]),
        "nets": callbacks.NetDistribution(x_test),
        "correlation": callbacks.UnitCorrelation(x_test),
    }
    if rate:
        watching["drift"] = callbacks.MomentDrift(x_train)
    model.fit(
        x_train,
        y_train,
        epochs=40,
        batch_size=50,
        callbacks=list(watching.values()),
        verbose=0,
    )
    for kind, callback in watching.items():
        callback.plot(folder / f"{name}_{kind}.png")
        # The mean over the epochs, layer by layer.
        for key, values in callback.results.items():
            if values.ndim == 1:
                measured[name, key] = np.mean(values)
    accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
    print(f"{name}: test accuracy {accuracy:.1%}")

layers = [f"hidden_{number}" for number in (1, 2, 3)] + ["logits"]
for key, names in (
    ("gradient_information", layers),
    ("gradient_information_normalized", layers),
    ("net_variance", layers),
    ("saturation", layers[:3]),
    ("unit_correlation", layers[:3]),
):
    print(key)
    for name in arms:
        row = [measured[name, f"{key}/{layer}"] for layer in names]
        print(f"  {name:8}", *(f"{value:8.4f}" for value in row))
print("dropout, variance in training over inference, and what R predicts")
for layer in layers[1:]:
    found = measured["dropout", f"variance_drift/{layer}"]
    r = measured["dropout", f"variance_ratio_r/{layer}"]
    print(f"  {layer:8} {found:8.4f} {1 + r:8.4f}")
