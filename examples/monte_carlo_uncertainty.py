"""Asks a network how sure it is of digits that are more and more rotated.

Predictions under many dropout masks give the predictive entropy, the whole
uncertainty, and the mutual information, the part on which the masks disagree.
Both rise as the answers go wrong, and fall again where nearly all are wrong:
the network is then sure of one wrong class. Writes a picture into the folder
given as first argument, by default the current one.
"""

import sys
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import rotate
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_dropx

keras.utils.set_random_seed(0)
x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(
    x.astype("float32").reshape(-1, 8, 8, 1) / 16,
    y,
    test_size=300,
    stratify=y,
    random_state=0,
)

model = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        keras.layers.Conv2D(32, 3, activation="relu"),
        keras.layers.Flatten(),
        keras_dropx.layers.AugmentedDropout(0.5),
        keras.layers.Dense(128, activation="relu"),
        keras_dropx.layers.AugmentedDropout(0.5),
        keras.layers.Dense(10),
    ]
)
model.compile(
    optimizer="adam",
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
model.fit(x_train, y_train, epochs=15, batch_size=50, verbose=0)

angles = range(0, 91, 10)
images = np.stack(
    [rotate(x_test, angle, axes=(2, 1), reshape=False) for angle in angles]
).clip(0, 1)
samples = keras_dropx.models.monte_carlo_predict(
    model, images.reshape(-1, 8, 8, 1), samples=30, batch_size=300, verbose=0
)
# One row for each angle, as in `images`.
samples = samples.reshape(30, *images.shape[:2], 10)
summary = keras_dropx.models.summarize(samples, from_logits=True)
answers = summary.mean.argmax(-1)
accuracy = np.mean(answers == y_test, axis=1)
entropy = summary.predictive_entropy.mean(1)
information = summary.mutual_information.mean(1)
print("angle  accuracy  entropy  mutual information (nats)")
for row in zip(angles, accuracy, entropy, information, strict=True):
    print("{:4}°  {:8.1%}  {:7.3f}  {:7.3f}".format(*row))
counts = np.bincount(answers[-1], minlength=10)
print(f"{counts.max() / 300:.0%} of the answers at 90° are {counts.argmax()}")

# A Figure of its own needs no window, as on a server.
figure = Figure(figsize=(7, 6), layout="constrained")
upper, lower = figure.subplots(2, sharex=True, height_ratios=(2, 1))
upper.plot(angles, entropy, "o-", label="predictive entropy")
upper.plot(angles, information, "s-", label="mutual information")
upper.set(ylabel="mean over images (nats)", ylim=(0, None))
upper.legend()
lower.plot(angles, 100 * accuracy, "^-", color="black")
lower.set(xlabel="rotation (degrees)", ylabel="accuracy (%)", ylim=(0, 105))
lower.set_xticks(angles)
shown = np.flatnonzero(y_test == 2)[0]
for image, answer, angle in zip(images, answers, angles, strict=True):
    inset = upper.inset_axes(
        (angle - 4, 1.02, 8, 0.2), transform=upper.get_xaxis_transform()
    )
    inset.imshow(image[shown], cmap="gray_r")
    inset.set(xticks=[], yticks=[], title=f"says {answer[shown]}")
path = Path(*sys.argv[1:2]) / "monte_carlo_uncertainty.png"
figure.savefig(path, dpi=150)
print("picture:", path)
