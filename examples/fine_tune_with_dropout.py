"""Fine-tunes with unscaled dropout a network that was trained without.

The masks of the classical form leave the kept values as they are. So the
kernels behind them are divided by 1 - p before fine-tuning and multiplied by
it before inference. Inverted dropout, the default everywhere, needs neither.
On this split fine-tuning lowers the test loss, and does not gain accuracy.
"""

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_dropx

keras.utils.set_random_seed(0)
x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(
    x.astype("float32") / 16, y, train_size=300, stratify=y, random_state=0
)
crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

pretrained = keras.Sequential(
    [
        keras.Input((64,)),
        keras.layers.Dense(256, activation="relu"),
        keras.layers.Dense(256, activation="relu"),
        keras.layers.Dense(10),
    ]
)
rate = 0.5
model = keras.Sequential(
    [
        keras.Input((64,)),
        keras.layers.Dense(256, activation="relu"),
        keras_dropx.layers.AugmentedDropout(rate, rescale=0.0),
        keras.layers.Dense(256, activation="relu", name="hidden"),
        keras_dropx.layers.AugmentedDropout(rate, rescale=0.0),
        keras.layers.Dense(10, name="logits"),
    ]
)
behind_masks = [model.get_layer("hidden"), model.get_layer("logits")]

pretrained.compile("adam", crossentropy, metrics=["accuracy"])
pretrained.fit(x_train, y_train, epochs=40, batch_size=50, verbose=0)
loss, accuracy = pretrained.evaluate(x_test, y_test, verbose=0)
print(f"pretrained: test accuracy {accuracy:.1%}, loss {loss:.3f} nats")

model.set_weights(pretrained.get_weights())
for layer in behind_masks:
    keras_dropx.models.scale_for_dropout(layer, rate)

# A low learning rate: large steps under noise would lose what was learnt.
# The pretrained network gets the same epochs without dropout, as a control.
for network in (pretrained, model):
    network.compile(
        keras.optimizers.Adam(1e-4), crossentropy, metrics=["accuracy"]
    )
    network.fit(x_train, y_train, epochs=40, batch_size=50, verbose=0)
loss, accuracy = pretrained.evaluate(x_test, y_test, verbose=0)
print(f"fine-tuned without: test accuracy {accuracy:.1%}, loss {loss:.3f} nats")

loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"  not scaled back: test accuracy {accuracy:.1%}, loss {loss:.3f} nats")
for layer in behind_masks:
    keras_dropx.models.scale_for_inference(layer, rate)
loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"fine-tuned with: test accuracy {accuracy:.1%}, loss {loss:.3f} nats")
