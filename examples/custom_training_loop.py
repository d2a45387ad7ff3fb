"""Trains with a hand-written TensorFlow step and looks at the gradients.

`training=True` switches the masks on. `MaskedInput` is the exact form of
augmented dropout: the weight gradient, too, has the backward mask. With the
layer in front of a `Dense`, the drop-in form, it has the forward mask.
"""

import keras
import numpy as np
import tensorflow as tf
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
        keras_dropx.layers.MaskedInput(
            keras.layers.Dense(256, activation="relu"),
            keras_dropx.layers.AugmentedDropout(0.5, backward_rate=1e-4),
        ),
        keras_dropx.layers.MaskedInput(
            keras.layers.Dense(10),
            keras_dropx.layers.AugmentedDropout(0.5, backward_rate=1e-4),
        ),
    ]
)
optimizer = keras.optimizers.Adam(1e-3)
loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@tf.function
def train_step(images, labels):
    with tf.GradientTape() as tape:
        loss = loss_of(labels, model(images, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply(gradients, model.trainable_variables)
    return loss


optimizer.build(model.trainable_variables)  # no variables inside the graph
batches = tf.data.Dataset.from_tensor_slices((x_train, y_train))
batches = batches.shuffle(300, seed=0).batch(50)
for epoch in range(1, 61):
    losses = [train_step(images, labels) for images, labels in batches]
    if epoch % 20 == 0:
        print(f"epoch {epoch}: training loss {np.mean(losses):.3f} nats")

logits = model(x_test, training=False)
accuracy = np.mean(np.argmax(logits, -1) == y_test)
print(f"test accuracy {accuracy:.1%}")

# The forward pass drops 0.5 of the inputs, the backward pass 0.2 of the rest
# besides: 0.6 in all. (At 1e-4 the difference would be too small to see.)
ones = tf.ones((1, 100_000))
dense = keras.layers.Dense(1, use_bias=False)
dropout = keras_dropx.layers.AugmentedDropout(0.5, backward_rate=0.2)
exact = keras_dropx.layers.MaskedInput(dense, dropout)
dense.build(ones.shape)
for form in ("drop-in", "exact"):
    with tf.GradientTape() as tape:
        tape.watch(ones)
        if form == "exact":
            output = exact(ones, training=True)
        else:
            output = dense(dropout(ones, training=True))
    gradients = tape.gradient(output, [ones, dense.kernel])
    inputs, kernel = (np.mean(gradient == 0) for gradient in gradients)
    print(f"{form}: zero gradient for {inputs:.3f} of the inputs, ", end="")
    print(f"{kernel:.3f} of the weights")
