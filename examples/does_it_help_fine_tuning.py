"""Does dropout help where a trained network is fine-tuned on little data?

A network learns the digits 0 to 4; then its head is made anew and all of it is
fine-tuned on 100 images of the digits 5 to 9. With `start="given"` each run
starts from the weights of the model: seeds differ in the order of the batches
and in the masks. Needs the extra `experiments`.
"""

import keras
from sklearn import datasets, model_selection

from keras_dropx.experiments import compare


def compiled(layers, learning_rate):
    model = keras.Sequential([keras.Input((64,)), *layers])
    model.compile(
        keras.optimizers.Adam(learning_rate),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def main():
    keras.utils.set_random_seed(0)
    x, y = datasets.load_digits(return_X_y=True)
    x = x.astype("float32") / 16
    body = [
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dropout(0.5),
    ]
    head = keras.layers.Dense(5, activation="softmax")
    model = compiled([*body, head], 1e-3)
    model.fit(x[y < 5], y[y < 5], epochs=20, verbose=0)

    x, x_test, y, y_test = model_selection.train_test_split(
        x[y > 4], y[y > 4] - 5, train_size=100, random_state=0
    )
    model = compiled([*body, keras.layers.Dense(5, activation="softmax")], 1e-3)
    result = compare(
        model,
        (x, y),
        (x_test, y_test),
        ["none", "dropout", "forward"],
        seeds=5,
        epochs=20,
        start="given",
        margin=0.01,
    )
    print(result)


if __name__ == "__main__":
    main()
