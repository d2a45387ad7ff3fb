"""Trains a network with dropout before batch normalisation, for the README.

Writes what the README's lines read: net.keras, the trained model, and
data.npz, 300 digits to train on and 1,497 to test. Needs scikit-learn.
"""

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def build(dropout):
    model = keras.Sequential([keras.Input((8, 8, 1))])
    for _ in range(3):
        model.add(layers.Conv2D(32, 3, padding="same"))
        model.add(layers.BatchNormalization(momentum=0.9))
        model.add(layers.ReLU())
        model.add(dropout(0.3))
        model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    model.add(layers.Dense(10, activation="softmax"))
    model.compile(
        keras.optimizers.Adam(3e-3),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def main():
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        x.reshape(-1, 8, 8, 1) / 16,
        y,
        train_size=300,
        stratify=y,
        random_state=0,
    )
    keras.utils.set_random_seed(0)
    model = build(layers.Dropout)
    model.fit(x_train, y_train, epochs=40, verbose=0)
    model.save("net.keras")
    np.savez(
        "data.npz",
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
    )
    print("net.keras and data.npz are written")


if __name__ == "__main__":
    main()
