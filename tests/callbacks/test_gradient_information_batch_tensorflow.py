"""The batch form, inside TensorFlow's training step."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_dropx.callbacks import GradientInformation
from keras_dropx.layers import AugmentedDropout

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 6)).astype("float32")
Y = RNG.integers(0, 3, 32)
LOSS = "sparse_categorical_crossentropy"
NAME = "gradient_information"


def mlp(**options):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, activation="relu", name="first"),
            AugmentedDropout(0.5, seed=1),
            layers.Dropout(0.2, seed=2),
            layers.Dense(3, activation="softmax", name="top"),
        ]
    )
    options = {"optimizer": keras.optimizers.SGD(0.1), **options}
    model.compile(loss=LOSS, **options)
    return model


def fit(model, *callbacks, **options):
    options = {"batch_size": 8, "shuffle": False, "verbose": 0, **options}
    return model.fit(X, Y, callbacks=list(callbacks), **options)


def by_hand(model, jit_compile, batches=4):
    """Mean sizes over the steps of an epoch of a tape, SGD at 0.1."""
    loss_of = keras.losses.SparseCategoricalCrossentropy()

    @tf.function(jit_compile=jit_compile)
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_weights)
        for variable, gradient in zip(
            model.trainable_weights, gradients, strict=True
        ):
            variable.assign_sub(0.1 * gradient)
        return [tf.reduce_mean(tf.abs(gradients[i])) for i in (0, 2)]

    sizes = [
        step(X[8 * k : 8 * k + 8], Y[8 * k : 8 * k + 8]) for k in range(batches)
    ]
    return np.mean(np.array(sizes, "float64"), 0)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("steps_per_execution", [1, 3])
def test_sizes_are_those_of_a_tape(jit_compile, steps_per_execution):
    expected = by_hand(mlp(), jit_compile)
    model = mlp(
        jit_compile=jit_compile, steps_per_execution=steps_per_execution
    )
    callback = GradientInformation()
    fit(model, callback)
    got = [callback.results[f"{NAME}/{name}"][0] for name in ("first", "top")]
    np.testing.assert_allclose(got, expected, 1e-5)


def test_sizes_are_those_before_clipping():
    # Of the first step, whose weights are the same with and without.
    expected = by_hand(mlp(), False, batches=1)
    callback = GradientInformation()
    model = mlp(optimizer=keras.optimizers.SGD(0.1, clipnorm=1e-3))
    fit(model, callback, steps_per_epoch=1)
    got = [callback.results[f"{NAME}/{name}"][0] for name in ("first", "top")]
    np.testing.assert_allclose(got, expected, 1e-5)


@pytest.mark.few(2)
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("steps_per_execution", [1, 2])
def test_training_is_the_same_to_the_bit(
    jit_compile, policy, steps_per_execution
):
    keras.config.set_dtype_policy(policy)
    states = []
    for callbacks in ([], [GradientInformation()]):
        model = mlp(
            optimizer=keras.optimizers.Adam(0.01, global_clipnorm=1.0),
            jit_compile=jit_compile,
            steps_per_execution=steps_per_execution,
        )
        fit(model, *callbacks, epochs=3)
        variables = [*model.variables, *model.optimizer.variables]
        states.append([v.numpy() for v in variables])
    for one, other in zip(*states, strict=True):
        np.testing.assert_array_equal(one, other)


def test_checkpoints_written_meanwhile_load_with_their_optimizer(tmp_path):
    path = str(tmp_path / "{epoch}.keras")
    model = mlp(optimizer="adam")
    checkpoint = keras.callbacks.ModelCheckpoint(path)
    fit(model, GradientInformation(), checkpoint, epochs=2)
    loaded = keras.models.load_model(path.format(epoch=2))
    for one, other in zip(
        loaded.optimizer.variables, model.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_callbacks_listed_after_it_see_the_keys(tmp_path):
    log = tmp_path / "log.csv"
    stopping = keras.callbacks.EarlyStopping(
        f"{NAME}/top", mode="max", min_delta=1e9, patience=1
    )
    logger = keras.callbacks.CSVLogger(log)
    history = fit(mlp(), GradientInformation(), stopping, logger, epochs=9)
    assert len(history.history["loss"]) == 2
    assert f"{NAME}/top" in log.read_text().splitlines()[0]


def test_loss_scaling_is_undone_and_skipped_steps_are_counted():
    keras.config.set_dtype_policy("mixed_float16")
    sizes = {}
    for scale in (2.0**7, 2.0**40):
        optimizer = keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD(0.0), initial_scale=scale
        )
        callback = GradientInformation()
        fit(mlp(optimizer=optimizer), callback, batch_size=2)
        sizes[scale] = {k: v[0] for k, v in callback.results.items()}
    skipped = f"{NAME}/skipped_steps"
    assert sizes[2.0**7][skipped] == 0
    assert sizes[2.0**40][skipped] == 16  # all of them: halved 16 times
    assert np.isnan(sizes[2.0**40][f"{NAME}/top"])
    plain = GradientInformation()
    fit(
        mlp(optimizer=keras.optimizers.SGD(0.0), auto_scale_loss=False),
        plain,
        batch_size=2,
    )
    for name in ("first", "top"):
        for key in (f"{NAME}/{name}", f"{NAME}_normalized/{name}"):
            expected = plain.results[key][0]
            np.testing.assert_allclose(sizes[2.0**7][key], expected, 0.01)


def test_a_constant_loss_scale_is_undone():
    values = []
    for factor in (None, 128.0):
        callback = GradientInformation()
        optimizer = keras.optimizers.SGD(0.1, loss_scale_factor=factor)
        fit(mlp(optimizer=optimizer), callback)
        values.append([v[0] for v in callback.results.values()])
    np.testing.assert_allclose(*values, rtol=1e-5)


def test_gradient_accumulation_is_of_each_micro_batch():
    values = []
    for steps in (None, 4):
        callback = GradientInformation()
        optimizer = keras.optimizers.SGD(0.0, gradient_accumulation_steps=steps)
        fit(mlp(optimizer=optimizer), callback)
        values.append([v[0] for v in callback.results.values()])
    np.testing.assert_allclose(*values, rtol=1e-6)


def test_frozen_layers_are_left_out():
    model = mlp()
    model.get_layer("first").trainable = False
    model.compile("sgd", LOSS)
    history = fit(model, GradientInformation()).history
    assert set(history) == {"loss", f"{NAME}/top", f"{NAME}_normalized/top"}


def test_recurrent_and_attention_kernels_have_their_names():
    inputs = keras.Input((5, 6))
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="rnn")
    x = x(inputs)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    model = keras.Model(inputs, layers.Dense(1, name="top")(x))
    model.compile("sgd", "mse")
    callback = GradientInformation()
    data = RNG.normal(size=(4, 5, 6)), np.ones((4, 5, 1))
    model.fit(*data, callbacks=[callback], verbose=0)
    names = {
        key.removeprefix(f"{NAME}/")
        for key in callback.results
        if key.startswith(f"{NAME}/")
    }
    assert len(names) == 7
    assert {"top", "attention/query"} <= names
    assert sum(name.startswith("rnn/forward_lstm") for name in names) == 1


class Looked(layers.Layer):
    """A table with sparse gradients, under the name of a kernel."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(10, 4), initializer="ones")

    def call(self, x):
        return tf.gather(self.kernel.value, x)


def test_sparse_gradients_are_added_up():
    model = keras.Sequential(
        [
            keras.Input((3,), dtype="int32"),
            Looked(name="table"),
            layers.Flatten(),
            layers.Dense(1, kernel_initializer="ones", name="top"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.0), "mae")
    callback = GradientInformation()
    # Row 2 three times: each of its 4 entries gets a gradient of 3, or -3.
    x, y = np.full((1, 3), 2), np.zeros((1, 1))
    model.fit(x, y, callbacks=[callback], verbose=0)
    assert callback.results[f"{NAME}/table"][0] == pytest.approx(3 * 4 / 40)


class OwnStep(keras.Model):
    """A training step of its own, with an optimizer for each layer."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape(persistent=True) as tape:
            loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        first, top = self.layers[1], self.layers[-1]
        for optimizer, layer in ((self.optimizer, first), (self.second, top)):
            gradients = tape.gradient(loss, layer.trainable_weights)
            optimizer.apply(gradients, layer.trainable_weights)
        return {"loss": loss}


def test_own_training_step_with_several_optimizers():
    plain = mlp()
    model = OwnStep(plain.inputs, plain.outputs)
    model.second = keras.optimizers.SGD(0.1)
    model.compile(keras.optimizers.SGD(0.1), LOSS)
    callback = GradientInformation()
    fit(model, callback)
    expected = by_hand(mlp(), False)
    got = [callback.results[f"{NAME}/{name}"][0] for name in ("first", "top")]
    np.testing.assert_allclose(got, expected, 1e-5)
    assert "apply" not in vars(model.second)


def test_an_error_in_training_is_mended_by_the_next():
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    model, callback = mlp(), GradientInformation()
    with pytest.raises(KeyboardInterrupt):
        fit(model, callback, Stop())
    fit(model, callback)
    assert "apply" not in vars(model.optimizer)
    assert "call" not in vars(model.layers[-1])
    assert callback.results[f"{NAME}/top"].shape == (1,)


def test_what_an_interrupted_training_leaves_goes_with_a_new_callback():
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    model = mlp()
    with pytest.raises(KeyboardInterrupt):
        fit(model, GradientInformation(), Stop())
    callback = GradientInformation()
    fit(model, callback)
    assert "apply" not in vars(model.optimizer)
    assert callback.results[f"{NAME}/top"][0] > 0


def test_two_at_a_time_are_refused():
    model = mlp()
    with pytest.raises(ValueError, match="Two GradientInformation without"):
        fit(model, *(GradientInformation(layers=[x]) for x in ("first", "top")))
    fit(model, GradientInformation())
    assert "apply" not in vars(model.optimizer)


MIRRORED = """
import tensorflow as tf
cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
import keras, numpy as np
from keras_dropx.callbacks import GradientInformation

rng = np.random.default_rng(0)
x, y = rng.normal(size=(32, 6)), rng.normal(size=(32, 2))
values, weights = [], []
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for strategy in (tf.distribute.get_strategy(), mirrored, mirrored):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = keras.Sequential([
            keras.Input((6,)),
            keras.layers.Dense(8, activation="tanh", name="first"),
            keras.layers.Dense(2, name="top"),
        ])
        model.compile(keras.optimizers.SGD(0.1), "mse")
    callback = GradientInformation()
    with_it = [callback] if len(values) < 2 else []
    model.fit(
        x, y, batch_size=8, shuffle=False, verbose=0, callbacks=with_it
    )
    values.append([v[0] for v in callback.results.values()])
    weights.append(model.get_weights())
np.testing.assert_allclose(values[0], values[1], rtol=1e-5)
for one, other in zip(weights[1], weights[2]):
    np.testing.assert_array_equal(one, other)
"""


@pytest.mark.full
def test_of_the_whole_gradient_under_a_mirrored_strategy():
    done = subprocess.run(
        [sys.executable, "-c", MIRRORED], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_tensorboard_has_the_values(tmp_path):
    from tensorboard.backend.event_processing import event_accumulator

    callback = GradientInformation(log_dir=tmp_path)
    fit(mlp(), callback, keras.callbacks.TensorBoard(tmp_path), epochs=2)
    found = {}
    for file in (tmp_path / "train").iterdir():
        events = event_accumulator.EventAccumulator(str(file)).Reload()
        for tag in events.Tags()["tensors"]:
            found[tag] = [
                (e.step, float(tf.make_ndarray(e.tensor_proto)))
                for e in events.Tensors(tag)
                if e.tensor_proto.dtype == 1
            ]
    assert "epoch_loss" in found  # Keras' own, in the same folder
    for key in (f"{NAME}/first", f"{NAME}_normalized/top"):
        steps, values = zip(*found[key], strict=True)
        assert steps == (0, 1)
        np.testing.assert_allclose(values, callback.results[key], 1e-6)


def test_a_log_dir_without_tensorboard_leaves_the_model_as_it_was(
    tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    model = mlp()
    before = [set(vars(layer)) for layer in model.layers]
    with pytest.raises(ImportError, match="tensorflow and tensorboard"):
        fit(model, GradientInformation(log_dir=tmp_path / "logs"))
    assert before == [set(vars(layer)) for layer in model.layers]
    assert not (tmp_path / "logs").exists()
    callback = GradientInformation()
    fit(model, callback)
    assert callback.results[f"{NAME}/first"] > 0
