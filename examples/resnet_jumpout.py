"""Trains a small residual network with Jumpout, and the same with dropout.

In each block a mask stands before the second convolution, so the batch
normalisation behind it collects its statistics under noise. Computing them
again without noise shows how much of the error is only that mismatch.
One seed on 300 images is a demonstration; `dropx compare` runs more.
"""

from functools import partial

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_dropx

x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(
    x.astype("float32").reshape(-1, 8, 8, 1) / 16,
    y,
    train_size=300,
    stratify=y,
    random_state=0,
)

convolution = partial(
    keras.layers.Conv2D, 32, 3, padding="same", use_bias=False
)
# 300 images are few steps. The default momentum of 0.99 would keep the
# statistics near where they started.
normalization = partial(keras.layers.BatchNormalization, momentum=0.9)
noises = {
    "dropout": partial(keras.layers.Dropout, 0.3),
    "jumpout": partial(keras_dropx.layers.Jumpout, sigma=0.2),
}
for name, noise in noises.items():
    keras.utils.set_random_seed(0)  # the same initial weights for both
    inputs = keras.Input((8, 8, 1))
    h = normalization()(convolution()(inputs))
    h = keras.layers.ReLU()(h)
    for _ in range(2):
        shortcut = h
        h = normalization()(convolution()(h))
        h = keras.layers.ReLU()(h)
        h = noise()(h)
        h = normalization()(convolution()(h))
        h = keras.layers.Add()([shortcut, h])
        h = keras.layers.ReLU()(h)
    h = keras.layers.GlobalAveragePooling2D()(h)
    model = keras.Model(inputs, keras.layers.Dense(10)(h))
    model.compile(
        optimizer=keras.optimizers.Adam(3e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(x_train, y_train, epochs=15, batch_size=50, verbose=0)
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"{name}: test accuracy {accuracy:.1%}, loss {loss:.3f} nats")

    # A copy, compiled as the model is; the model itself stays as it was.
    cleaned = keras_dropx.models.reestimate_batch_norm(
        model, x_train, batch_size=50
    )
    loss, accuracy = cleaned.evaluate(x_test, y_test, verbose=0)
    print(f"  re-estimated: accuracy {accuracy:.1%}, loss {loss:.3f} nats")
