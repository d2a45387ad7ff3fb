import warnings

import keras
import numpy as np
import pytest
from keras import layers

from keras_dropx.layers import AugmentedDropout, ForwardDropout, Jumpout
from keras_dropx.models import replace_dropout
from keras_dropx.models.copying import copy_model

# torch.compile takes no Keras layers, and one step at a time.
COMPILES = keras.config.backend() != "torch"
RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 8)).astype("float32")


def augmented(old):
    return AugmentedDropout(old.rate)


def sequential():
    return keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(6, activation="relu"),
            layers.Dropout(0.5, name="drop"),
            layers.Dense(3),
        ],
        name="stack",
    )


def assert_same(new, old, x):
    """Inference, names, parameters; on the same data."""
    ours, theirs = (model.predict(x, verbose=0) for model in (new, old))
    keras.tree.map_structure(np.testing.assert_array_equal, ours, theirs)
    assert new.count_params() == old.count_params()
    assert [x.name for x in new.inputs] == [x.name for x in old.inputs]
    assert new.name == old.name
    assert type(new) is type(old)
    for one, other in zip(new.layers, old.layers, strict=True):
        assert one.name == other.name
        assert one.trainable == other.trainable
        assert one is not other
    for one, other in zip(new.weights, old.weights, strict=True):
        assert one is not other
        assert one.trainable == other.trainable


def test_sequential():
    model = sequential()
    new = replace_dropout(model, augmented)
    assert_same(new, model, X)
    layer = new.get_layer("drop")
    assert type(layer) is AugmentedDropout and layer.rate == 0.5
    assert not new.compiled
    # The old one is as it was.
    assert type(model.get_layer("drop")) is layers.Dropout


@pytest.mark.backends
def test_the_copy_trains_compiled_and_the_model_stays():
    model = sequential()
    before = model.get_weights()
    new = replace_dropout(model, lambda old: AugmentedDropout(0.5, 0.1))
    new.compile("sgd", "mse", jit_compile=COMPILES)
    new.fit(X, np.ones((12, 3)), epochs=2, verbose=0)
    for weight, start in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, start)
    for weight, start in zip(new.get_weights(), before, strict=True):
        assert not np.array_equal(weight, start)


def test_unbuilt_sequential():
    model = keras.Sequential([layers.Dense(4), layers.Dropout(0.5)])
    new = replace_dropout(model, augmented)
    assert not new.built
    assert new(X).shape == (12, 4)
    assert type(new.layers[1]) is AugmentedDropout


def test_sequential_that_was_built_by_data():
    model = keras.Sequential([layers.Dense(4), layers.Dropout(0.5)])
    model(X)
    assert_same(replace_dropout(model, augmented), model, X)


def nested():
    shared = layers.Dense(8, activation="tanh", name="shared")
    inner_input = keras.Input((8,))
    inner = keras.Model(
        inner_input,
        layers.SpatialDropout1D(0.3, name="spatial")(
            layers.Reshape((4, 2))(shared(inner_input))
        ),
    )
    head = keras.Sequential(
        [layers.Flatten(), layers.AlphaDropout(0.2), layers.Dense(4)]
    )
    left, right = keras.Input((8,)), keras.Input((8,), name="right")
    x = inner(left) + inner(right)
    x = layers.GaussianDropout(0.1)(x)
    extra = layers.Dropout(0.4)(shared(right))
    return keras.Model(
        [left, right],
        {"head": head(x), "extra": extra[:, :3]},
    )


@pytest.mark.backends
def test_nested_shared_several_inputs_and_outputs():
    model = nested()
    kinds = []

    def replacement(old):
        kinds.append(type(old).__name__)
        return ForwardDropout(old.rate)

    new = replace_dropout(model, replacement)
    assert_same(new, model, [X, X + 1])
    assert sorted(kinds) == [
        "AlphaDropout",
        "Dropout",
        "GaussianDropout",
        "SpatialDropout1D",
    ]
    flat = new._flatten_layers()
    assert sum(isinstance(layer, ForwardDropout) for layer in flat) == 4
    assert sum(layer.name == "shared" for layer in flat) == 1
    spatial = [layer for layer in flat if layer.name == "spatial"]
    assert spatial[0].noise_shape == (None, 1, None)


def test_dict_inputs():
    inputs = {
        "a": keras.Input((8,), name="a"),
        "b": keras.Input((8,), name="b"),
    }
    x = layers.Dropout(0.5)(layers.Concatenate()([inputs["b"], inputs["a"]]))
    model = keras.Model(inputs, layers.Dense(2)(x))
    assert_same(replace_dropout(model, augmented), model, {"a": X, "b": 2 * X})


def test_none_keeps_the_layer():
    model = sequential()
    new = replace_dropout(model, lambda old: None)
    assert type(new.get_layer("drop")) is layers.Dropout
    assert_same(new, model, X)


@pytest.mark.parametrize(
    "old, shape, noise_shape",
    [
        (layers.Dropout(0.5, noise_shape=(None, 1)), (8,), (None, 1)),
        (layers.AlphaDropout(0.5, noise_shape=(None, 1)), (8,), (None, 1)),
        (layers.GaussianDropout(0.5), (8,), None),
        (layers.SpatialDropout1D(0.5), (4, 2), (None, 1, None)),
        (layers.SpatialDropout2D(0.5), (4, 4, 2), (None, 1, 1, None)),
        (
            layers.SpatialDropout2D(0.5, data_format="channels_first"),
            (2, 4, 4),
            (None, None, 1, 1),
        ),
        (layers.SpatialDropout3D(0.5), (4, 4, 4, 2), (None, 1, 1, 1, None)),
    ],
)
def test_noise_shape_is_taken_over(old, shape, noise_shape):
    model = keras.Sequential([keras.Input(shape), old])
    new = replace_dropout(model, augmented).layers[0]
    assert new.noise_shape == noise_shape
    own = replace_dropout(
        model, lambda old: Jumpout(0.2, noise_shape=(1, *[None] * len(shape)))
    )
    assert own.layers[0].noise_shape == (1, *[None] * len(shape))
    # The same units go together as under the old layer.
    x = np.ones((2, *shape), "float32")
    dropped = keras.ops.convert_to_numpy(new(x, training=True)) == 0
    if noise_shape is not None:
        axes = tuple(i for i, size in enumerate(noise_shape) if size == 1)
        assert np.all(dropped.all(axes) == dropped.any(axes))


def test_dtype_policy_and_name_are_taken_over():
    old = layers.Dropout(0.5, dtype="mixed_bfloat16", name="mine")
    model = keras.Sequential([keras.Input((8,)), old])
    new = replace_dropout(model, lambda old: AugmentedDropout(0.1, name="x"))
    assert new.layers[0].dtype_policy.name == "mixed_bfloat16"
    assert new.layers[0].name == "mine"


def test_one_instance_for_all_sites_becomes_one_layer_each():
    model = keras.Sequential(
        [keras.Input((8,)), layers.Dropout(0.5), layers.Dropout(0.5)]
    )
    layer = AugmentedDropout(0.25)
    new = replace_dropout(model, lambda old: layer)
    assert len({id(x) for x in (layer, *new.layers)}) == 3


def squared(y_true, y_pred):
    return keras.ops.mean((y_true - y_pred) ** 2, -1)


def test_a_compiled_model_comes_back_compiled():
    model = sequential()
    metric = keras.metrics.MeanAbsoluteError()
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    model.compile(
        keras.optimizers.SGD(schedule, momentum=0.7),
        loss=lambda y_true, y_pred: squared(y_true, y_pred),
        metrics=[metric, squared],
        weighted_metrics=["mae"],
        steps_per_execution=1 + COMPILES,
        jit_compile=COMPILES,
    )
    model.fit(X, np.ones((12, 3)), batch_size=3, verbose=0)
    new = replace_dropout(model, augmented)
    assert new.loss is model.loss
    assert new._compile_config.config["metrics"][0] is metric
    assert new.jit_compile == COMPILES
    assert new.steps_per_execution == 1 + COMPILES
    assert new.optimizer is not model.optimizer
    assert int(new.optimizer.iterations) == 0
    assert new.optimizer.get_config() == model.optimizer.get_config()
    expected = model.evaluate(X, np.ones((12, 3)), verbose=0)
    assert new.evaluate(X, np.ones((12, 3)), verbose=0) == expected
    new.fit(X, np.ones((12, 3)), batch_size=3, verbose=0)
    assert not replace_dropout(model, augmented, compile=False).compiled


def test_settings_changed_after_compile_count():
    model = sequential()
    model.compile("adam", "mse", jit_compile=False)
    model.optimizer.learning_rate = 0.125
    model.run_eagerly = True
    new = replace_dropout(model, augmented)
    assert float(new.optimizer.learning_rate) == 0.125
    assert new.run_eagerly


@pytest.mark.few(1)
@pytest.mark.parametrize("auto_scale_loss", [True, False])
def test_loss_scaling_is_as_it_was(auto_scale_loss):
    keras.config.set_dtype_policy("mixed_float16")
    model = sequential()
    model.compile(
        keras.optimizers.Adam(lambda: 0.01),
        "mse",
        auto_scale_loss=auto_scale_loss,
    )
    new = replace_dropout(model, augmented)
    assert type(new.optimizer) is type(model.optimizer)
    new.fit(X, np.ones((12, 3)), verbose=0)


def test_what_is_not_to_decay_stays_so():
    model = sequential()
    optimizer = keras.optimizers.AdamW()
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.compile(optimizer, "mse")
    new = replace_dropout(model, augmented)
    for variable in new.trainable_variables:
        decays = new.optimizer._use_weight_decay(variable)
        assert decays == ("bias" not in variable.path)


class OwnStep(keras.Model):
    def compute_loss(self, *args, **kwargs):
        return 0 * super().compute_loss(*args, **kwargs) + 7


class OwnCompile(keras.Model):
    def compile(self, strength, **kwargs):
        super().compile(**kwargs)


class OwnConstructor(keras.Model):
    def __init__(self, units):
        inputs = keras.Input((8,))
        super().__init__(inputs, layers.Dropout(0.5)(layers.Dense(8)(inputs)))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dropout = layers.Dropout(0.5)

    def call(self, x):
        return self.dropout(x)


def test_functional_subclass_keeps_its_class():
    inputs = keras.Input((8,))
    model = OwnStep(inputs, layers.Dropout(0.5)(layers.Dense(1)(inputs)))
    model.compile("sgd", "mse")
    new = replace_dropout(model, augmented)
    assert_same(new, model, X)
    history = new.fit(X, np.ones((12, 1)), verbose=0).history
    assert history["loss"] == [7]


def test_own_compile_is_refused_unless_it_is_left_to_the_user():
    inputs = keras.Input((8,))
    model = OwnCompile(inputs, layers.Dropout(0.5)(inputs))
    model.compile(0.5, loss="mse")
    with pytest.raises(
        ValueError, match="OwnCompile has a `compile` of its own.*`compile=F"
    ):
        replace_dropout(model, augmented)
    new = replace_dropout(model, augmented, compile=False)
    assert type(new) is OwnCompile


def test_subclassed_models_are_refused_with_reason_and_remedy():
    with pytest.raises(
        ValueError,
        match="code that cannot be rewritten. Pass `in_place=True`, or build "
        "the network with the functional API. Received: <Subclassed",
    ):
        replace_dropout(Subclassed(), augmented)


def test_own_constructors_leave_a_plain_model_and_one_warning():
    inner = OwnConstructor(3)
    inputs = keras.Input((8,))
    model = keras.Model(inputs, layers.Dropout(0.2)(inner(inputs)))
    model.compile("sgd", "mse")
    for each, count in ((inner, 1), (model, 2)):
        with pytest.warns(
            UserWarning,
            match="plain `keras.Model`s, because the constructors.*stay "
            r"behind: '.*' \(OwnConstructor\)$",
        ) as caught:
            new = replace_dropout(each, augmented)
        # torch warns of its own parts besides.
        ours = [w for w in caught if "stay behind" in str(w.message)]
        assert len(ours) == 1 and ours[0].filename == __file__
        assert type(new) is type(model)
        flat = new._flatten_layers()
        assert sum(type(x) is AugmentedDropout for x in flat) == count
        np.testing.assert_array_equal(
            *(one.predict(X, verbose=0) for one in (new, each))
        )
        assert new.name == each.name
    assert new.compiled and new.loss == "mse"
    new.fit(X, X, verbose=0)


class OwnStack(keras.Sequential):
    def __init__(self, units):
        super().__init__([keras.Input((8,)), layers.Dropout(0.5)])


def test_a_sequential_with_its_own_constructor():
    with pytest.warns(UserWarning, match="stay behind: .*OwnStack"):
        new = replace_dropout(OwnStack(3), augmented)
    assert type(new) is keras.Sequential
    assert type(new.layers[0]) is AugmentedDropout


class NoConfig(layers.Layer):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def call(self, x):
        return x

    def get_config(self):
        return super().get_config()


def test_a_layer_that_cannot_be_copied_is_named():
    model = keras.Sequential(
        [keras.Input((8,)), NoConfig(3), layers.Dropout(0.5)]
    )
    with pytest.raises(
        ValueError,
        match=r"Layer 'no_config.*' \(NoConfig\) cannot be copied. Its class "
        "needs a `get_config` that its constructor takes back, of registered "
        "objects; or pass `in_place=True`. The error was: TypeError: Error",
    ):
        replace_dropout(model, augmented)


@pytest.mark.parametrize("bad", [3, AugmentedDropout, "dropout"])
def test_a_replacement_that_is_no_layer_is_refused(bad):
    with pytest.raises(
        ValueError,
        match="Expected `replacement` to return a layer or None for 'drop'",
    ):
        replace_dropout(sequential(), lambda old: bad)


def test_a_replacement_with_weights_is_refused():
    with pytest.raises(
        ValueError,
        match="as many weights as those replaced. Received: 81 parameters in "
        "place of 75",
    ):
        replace_dropout(sequential(), lambda old: layers.PReLU())


def test_functions_need_not_be_registered():
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(
                4,
                activation=lambda x: 2 * x,
                kernel_initializer=lambda shape, dtype: keras.ops.ones(shape),
            ),
            layers.Lambda(lambda x, plus: x + plus, arguments={"plus": 2}),
            layers.Dropout(0.5),
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        new = replace_dropout(model, augmented)
    assert_same(new, model, X)


def test_frozen_parts_stay_frozen():
    model = nested()
    model.layers[2].trainable = False
    inner = next(x for x in model.layers if isinstance(x, keras.Sequential))
    inner.trainable = False
    inner.layers[-1].trainable = True
    bidirectional = layers.Bidirectional(layers.LSTM(2))
    inputs = keras.Input((4, 8))
    model = keras.Model(
        inputs,
        [
            layers.TimeDistributed(layers.Dense(1))(inputs),
            bidirectional(inputs),
            layers.Dropout(0.5)(layers.Dense(3, name="dense")(inputs)),
        ],
    )
    bidirectional.forward_layer.trainable = False
    model.get_layer("dense").kernel.trainable = False
    new = replace_dropout(model, augmented)
    assert_same(new, model, RNG.normal(size=(3, 4, 8)))
    assert len(new.trainable_variables) == len(model.trainable_variables)


def test_a_frozen_model_around_a_trainable_layer():
    inner = keras.Sequential(
        [keras.Input((8,)), layers.Dense(8, name="a"), layers.Dense(8)]
    )
    model = keras.Sequential([keras.Input((8,)), inner, layers.Dropout(0.5)])
    model.trainable = False
    inner.get_layer("a").trainable = True
    new = replace_dropout(model, augmented)
    assert not new.trainable and not new.layers[0].trainable
    assert [x.trainable for x in new.layers[0].layers] == [True, False]
    # And the other way about.
    model.trainable = True
    inner.get_layer("a").trainable = False
    new = replace_dropout(model, augmented)
    assert [x.trainable for x in new.layers[0].layers] == [False, True]
    assert len(new.trainable_variables) == 2


def test_what_layers_compute_from_their_weights_is_copied():
    normalization = layers.Normalization()
    normalization.adapt(5 + 3 * X)
    model = keras.Sequential(
        [keras.Input((8,)), normalization, layers.Dropout(0.5)]
    )
    new = replace_dropout(model, augmented)
    assert_same(new, model, 5 + 3 * X)
    assert abs(new.predict(5 + 3 * X, verbose=0).mean()) < 1e-5


def test_batch_norm_statistics_are_copied():
    model = keras.Sequential(
        [keras.Input((8,)), layers.BatchNormalization(), layers.Dropout(0.5)]
    )
    model(X, training=True)
    assert_same(replace_dropout(model, augmented), model, X)


@pytest.mark.backends
def test_weight_files_fit_both(tmp_path):
    model = sequential()
    new = replace_dropout(model, augmented)
    new.set_weights([weight + 1 for weight in new.get_weights()])
    new.save_weights(tmp_path / "new.weights.h5")
    model.load_weights(tmp_path / "new.weights.h5")
    assert_same(new, model, X)


@pytest.mark.full
@pytest.mark.parametrize(
    "name, sites", [("EfficientNetB0", 10), ("MobileNet", 1)]
)
def test_application_networks(name, sites, tmp_path):
    build = getattr(keras.applications, name)
    model = build(weights=None, input_shape=(32, 32, 3), classes=10)
    # As after training: a fresh network's statistics are all 0 and 1. From a
    # file, because `set_weights` does not reach what Normalization applies.
    model.set_weights(
        [w + 0.01 * RNG.normal(size=w.shape) ** 2 for w in model.get_weights()]
    )
    model.save_weights(tmp_path / "trained.weights.h5")
    model.load_weights(tmp_path / "trained.weights.h5")
    old = [x for x in model.layers if isinstance(x, layers.Dropout)]
    new = replace_dropout(model, lambda x: AugmentedDropout(x.rate, 1e-4))
    assert_same(new, model, RNG.uniform(0, 255, size=(2, 32, 32, 3)))
    found = [x for x in new.layers if isinstance(x, AugmentedDropout)]
    assert len(found) == len(old) == sites
    for one, other in zip(found, old, strict=True):
        assert (one.rate, one.noise_shape) == (other.rate, other.noise_shape)
    if name == "EfficientNetB0":
        # Drop connect: whole samples at a time.
        assert found[0].noise_shape == (None, 1, 1, 1)


def test_dropout_inside_other_layers_is_listed():
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(20, 8)(tokens)
    attended = layers.MultiHeadAttention(2, 4, dropout=0.1, name="attention")
    x = x + attended(x, x)
    x = layers.Dropout(0.1, name="residual")(x)
    x = layers.MultiHeadAttention(2, 4, name="dry")(x, x)
    x = layers.Bidirectional(layers.LSTM(3, dropout=0.2), name="rnn")(x)
    model = keras.Model(tokens, layers.Dense(2)(x))
    with pytest.warns(
        UserWarning,
        match="The dropout inside these layers is not replaced: 'attention' "
        r"\(MultiHeadAttention\), 'rnn' \(Bidirectional\)\. 'attention' "
        r"\(MultiHeadAttention\): .*`in_place=True` reaches it\. 'rnn' "
        r"\(Bidirectional\): recurrent cells draw by themselves.*instead$",
    ) as caught:
        new = replace_dropout(model, augmented)
    (caught,) = (w for w in caught if w.category is UserWarning)
    assert caught.filename == __file__
    assert type(new.get_layer("residual")) is AugmentedDropout
    assert_same(new, model, RNG.integers(0, 20, (4, 6)))


def test_a_copy_is_its_own_model(tmp_path):
    dense = layers.Dense(8)
    inputs = keras.Input((8,))
    x = keras.ops.relu(dense(inputs)) + 1.0
    model = keras.Model(inputs, layers.Dropout(0.5)(dense(x)))
    copy = copy_model(model, lambda layer: None)
    assert_same(copy, model, X)
    copy.set_weights([weight + 1 for weight in copy.get_weights()])
    before, after = (m.predict(X, verbose=0) for m in (model, copy))
    assert not np.array_equal(before, after)
    # Operations of `keras.ops` are part of both; both can still be saved.
    for name, each in (("model", model), ("copy", copy)):
        each.save(tmp_path / f"{name}.keras")
        loaded = keras.models.load_model(tmp_path / f"{name}.keras")
        np.testing.assert_array_equal(
            loaded.predict(X, verbose=0), each.predict(X, verbose=0)
        )
