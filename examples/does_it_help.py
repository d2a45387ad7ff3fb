"""Does dropout help this model on this data, and does another method?

Compares the methods on scikit-learn's breast cancer data: 30 numbers of each
of 569 tumours, malignant or not. Needs the extra `experiments`.
"""

import keras
from sklearn import datasets, model_selection, preprocessing

from keras_dropx.experiments import compare


def build(dropout):
    model = keras.Sequential(
        [
            keras.Input((30,)),
            keras.layers.Dense(64, activation="relu"),
            dropout(0.5),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def main():
    x, y = datasets.load_breast_cancer(return_X_y=True)
    x, x_test, y, y_test = model_selection.train_test_split(
        x, y, train_size=120, random_state=0, stratify=y
    )
    scale = preprocessing.StandardScaler().fit(x)
    train, test = (scale.transform(x), y), (scale.transform(x_test), y_test)
    result = compare(
        build,
        train,
        test,
        ["none", "dropout", "forward"],
        seeds=5,
        epochs=10,
        margin=0.01,
    )
    print(result)


if __name__ == "__main__":
    main()
