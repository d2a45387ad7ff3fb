"""Does dropout help in a regression?

Compares the methods on scikit-learn's diabetes data: ten numbers of each of
442 patients, and how far the disease went on in a year. The metric is the mean
absolute error, in the score's own unit. Needs the extra `experiments`.
"""

import keras
from sklearn import datasets, model_selection, preprocessing

from keras_dropx.experiments import compare


def build(dropout):
    model = keras.Sequential(
        [
            keras.Input((10,)),
            keras.layers.Dense(64, activation="relu"),
            dropout(0.3),
            keras.layers.Dense(64, activation="relu"),
            dropout(0.3),
            keras.layers.Dense(1),
            # The network learns a score of mean 0 and spread 1.
            keras.layers.Rescaling(77.0, offset=152.0),
        ]
    )
    model.compile("adam", "mse", metrics=["mae"])
    return model


def main():
    x, y = datasets.load_diabetes(return_X_y=True)
    x, x_test, y, y_test = model_selection.train_test_split(
        x, y, train_size=200, random_state=0
    )
    scale = preprocessing.StandardScaler().fit(x)
    result = compare(
        build,
        (scale.transform(x), y),
        (scale.transform(x_test), y_test),
        ["none", "dropout", "forward"],
        seeds=5,
        epochs=30,
        metric="mae",
        margin=1.0,
    )
    print(result)


if __name__ == "__main__":
    main()
