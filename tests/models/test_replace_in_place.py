import copy
import pickle
import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras import layers as L

from keras_dropx.layers import AugmentedDropout, ForwardDropout, Jumpout
from keras_dropx.models import monte_carlo_predict, replace_dropout
from keras_dropx.models.in_place import stand_in

COMPILES = keras.config.backend() != "torch"
RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 5, 8)).astype("float32")


def augmented(old):
    return AugmentedDropout(old.rate, 0.1)


class Block(layers.Layer):
    """A transformer block as keras.io has it, without `get_config`."""

    def __init__(self, rate):
        super().__init__()
        self.attention = layers.MultiHeadAttention(2, 4, dropout=rate)
        self.feed = keras.Sequential([layers.Dense(8), layers.Dropout(rate)])
        self.drops = [layers.SpatialDropout1D(rate), layers.AlphaDropout(rate)]

    def call(self, x, training=None):
        x = x + self.drops[0](self.attention(x, x), training=training)
        return x + self.drops[1](self.feed(x))


class Network(keras.Model):
    def __init__(self, rate=0.5):
        super().__init__(name="network")
        self.block = Block(rate)
        self.head = layers.Dense(2)
        self.noise = layers.GaussianDropout(rate)

    def call(self, x, training=None):
        x = self.block(x, training=training)
        return self.head(self.noise(x, training=training))


def network(rate=0.5):
    model = Network(rate)
    model(X)
    return model


def assert_same(*tensors):
    np.testing.assert_array_equal(*map(ops.convert_to_numpy, tensors))


def drops(model):
    return [
        layer
        for layer in model._flatten_layers()
        if isinstance(
            layer,
            (layers.Dropout, layers.GaussianDropout, layers.AlphaDropout),
        )
    ]


@pytest.mark.backends
def test_every_dropout_object_is_reached_and_nothing_else_changes(tmp_path):
    model = network()
    plain = network()
    plain.set_weights(model.get_weights())
    before = model.predict(X, verbose=0)
    paths = [variable.path for variable in model.variables]
    assert replace_dropout(model, augmented, in_place=True) is model
    found = drops(model)
    assert len(found) == 5
    for layer in found:
        new = stand_in(layer)
        assert type(new) is AugmentedDropout
        assert (new.rate, new.name) == (layer.rate, layer.name)
        assert type(layer).__module__.startswith("keras.")
    spatial = stand_in(model.block.drops[0])
    assert spatial.noise_shape == (None, 1, None)
    np.testing.assert_array_equal(model.predict(X, verbose=0), before)
    assert [variable.path for variable in model.variables] == paths
    # Weight files fit both ways.
    model.set_weights([weight + 1 for weight in model.get_weights()])
    model.save_weights(tmp_path / "ours.weights.h5")
    plain.load_weights(tmp_path / "ours.weights.h5")
    assert_same(plain(X), model(X))
    plain.set_weights([weight + 1 for weight in plain.get_weights()])
    plain.save_weights(tmp_path / "plain.weights.h5")
    model.load_weights(tmp_path / "plain.weights.h5")
    assert_same(plain(X), model(X))


@pytest.mark.backends
def test_the_masks_are_those_of_the_layer(vjp, mode):
    model = network()
    replace_dropout(
        model, lambda old: AugmentedDropout(old.rate, 0.3), in_place=True
    )
    layer = AugmentedDropout(0.5, 0.3)
    x = RNG.normal(size=(20, 30)).astype("float32")
    for old in (
        model.block.feed.layers[1],
        model.block.attention._dropout_layer,
    ):
        for each in (old, layer):
            each.seed_generator.state.assign([3, 5])
        ours = vjp(old, x, mode=mode)
        theirs = vjp(layer, x, mode=mode)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
        y, dx = ours
        # A backward ratio among kept.
        assert 0.6 < np.mean(dx[y != 0] != 0) < 0.8
        assert int(old.seed_generator.state[1]) == 6


@pytest.mark.few(1)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_it_trains_compiled(policy):
    keras.config.set_dtype_policy(policy)
    model = network()
    replace_dropout(model, augmented, in_place=True)
    model.compile("sgd", "mse", jit_compile=COMPILES)
    before = model.get_weights()
    states = [np.array(x.seed_generator.state) for x in drops(model)]
    model.fit(X, X[:, :, :2], batch_size=6, verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        assert not np.array_equal(old, new)
    for layer, state in zip(drops(model), states, strict=True):
        after = np.array(layer.seed_generator.state)
        assert (after - state).tolist() == [0, 2]
        assert stand_in(layer).compute_dtype == layer.compute_dtype


def losses(model):
    """The losses of a training step that changes nothing, and of inference."""
    y = X[:, :, :2]
    trained = model.fit(X, y, batch_size=12, shuffle=False, verbose=0)
    tested = model.evaluate(X, y, batch_size=12, verbose=0)
    return trained.history["loss"][0], tested


@pytest.mark.full
def test_compiled_functions_are_renewed_twice_and_undone():
    model = network()
    model.compile(keras.optimizers.SGD(0.0), "mse")
    trained, tested = losses(model)
    assert abs(trained - tested) > 1e-3
    replace_dropout(model, lambda old: layers.Identity(), in_place=True)
    trained, tested = losses(model)
    assert trained == pytest.approx(tested, rel=1e-5)
    replace_dropout(model, augmented, in_place=True)
    replace_dropout(model, lambda old: ForwardDropout(old.rate), in_place=True)
    assert {type(stand_in(x)) for x in drops(model)} == {ForwardDropout}
    trained, tested = losses(model)
    assert abs(trained - tested) > 1e-3
    replace_dropout(model, lambda old: None, in_place=True)
    for layer in drops(model):
        assert stand_in(layer) is None and "call" not in vars(layer)
    twin = network()
    twin.set_weights(model.get_weights())
    for one, other in zip(drops(model), drops(twin), strict=True):
        for each in (one, other):
            each.seed_generator.state.assign([1, 0])
    results = []
    for each in (model, twin):
        keras.utils.set_random_seed(0)  # torch's dropout has no other state
        results.append(each(X, training=True))
    assert_same(*results)


@pytest.mark.full
def test_it_can_be_called_within_fit():
    model = network()
    model.compile("sgd", "mse")
    change = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: replace_dropout(
            model, augmented, in_place=True
        )
    )
    model.fit(X, X[:, :, :2], epochs=2, callbacks=[change], verbose=0)


def functional():
    inputs = keras.Input((5, 8))
    x = layers.MultiHeadAttention(2, 4, dropout=0.5, name="attend")(
        inputs, inputs
    )
    return keras.Model(inputs, layers.Dropout(0.5, name="drop")(x))


def through_a_file(model, folder):
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


@pytest.mark.parametrize(
    "again",
    [
        through_a_file,
        lambda model, _: keras.models.clone_model(model),
        lambda model, _: copy.deepcopy(model),
        lambda model, _: pickle.loads(pickle.dumps(model)),
    ],
    ids=["file", "clone", "deepcopy", "pickle"],
)
def test_other_copies_have_plain_dropout_again(again, tmp_path):
    model = functional()
    replace_dropout(model, augmented, in_place=True)
    new = again(model, tmp_path)
    assert len(drops(new)) == 2
    for layer in drops(new):
        assert type(layer) is layers.Dropout and stand_in(layer) is None
    replace_dropout(new, augmented, in_place=True)
    assert all(stand_in(layer) for layer in drops(new))
    assert all(stand_in(layer) for layer in drops(model))


def test_a_copy_of_ours_replaces_what_was_changed_in_place():
    model = functional()
    replace_dropout(model, augmented, in_place=True)
    with pytest.warns(UserWarning, match="'attend'.*`in_place=True` reaches"):
        new = replace_dropout(model, lambda old: Jumpout(0.1))
    assert type(new.get_layer("drop")) is Jumpout
    assert stand_in(new.get_layer("attend")._dropout_layer) is None


class AlwaysOn(layers.Dropout):
    def call(self, inputs, training=False):
        return super().call(inputs, training=True)


class OwnShape(layers.SpatialDropout1D):
    def _get_noise_shape(self, inputs):
        return (ops.shape(inputs)[0], 1, 1)


class Renamed(layers.AlphaDropout):
    """Draws as its base does."""


def test_what_is_not_reached_is_in_one_warning_with_what_to_use():
    inputs = keras.Input((5, 8))
    x = layers.Bidirectional(
        layers.LSTM(4, dropout=0.2, name="lstm"), name="rnn"
    )(inputs)
    x = layers.RepeatVector(5)(x)
    x = layers.RNN(
        layers.GRUCell(8, recurrent_dropout=0.1, name="cell"), name="gru"
    )(x)
    x = layers.RepeatVector(5)(x)
    x = layers.Attention(dropout=0.1, name="dot")([x, x])
    x = AlwaysOn(0.1, name="on")(x)
    x = OwnShape(0.1, name="shape")(x)
    x = Renamed(0.1, name="renamed")(x)
    x = layers.LSTM(3, name="dry")(x)
    x = layers.Lambda(lambda x: keras.random.dropout(x, 0.1), (3,), name="fun")(
        x
    )
    model = keras.Model(inputs, layers.Dropout(0.1)(x))
    with pytest.warns(UserWarning) as caught:
        replace_dropout(model, augmented, in_place=True)
    (caught,) = (w for w in caught if w.category is UserWarning)
    assert caught.filename == __file__
    text = str(caught.message)
    listed = (
        "'rnn/forward_lstm' (LSTM), 'rnn/backward_lstm' (LSTM)",
        "'gru/cell' (GRUCell)",
        "'dot' (Attention)",
        "'on' (AlwaysOn)",
        "'shape' (OwnShape)",
        "'fun' (Lambda)",
    )
    head, *reasons = text.split(". ")
    assert head == (
        "The dropout inside these layers is not replaced: " + ", ".join(listed)
    )
    recurrent, attention, own_call, function = reasons
    assert "noise_shape=(None, 1, None) instead" in recurrent
    assert "use MultiHeadAttention" in attention
    assert own_call.startswith("'on' (AlwaysOn), 'shape' (OwnShape): ")
    assert function.startswith("'fun' (Lambda): ")
    assert stand_in(model.get_layer("renamed"))
    with pytest.warns(UserWarning, match=r"'on' \(AlwaysOn\), 'shape'"):
        new = replace_dropout(model, augmented)
    assert type(new.get_layer("on")) is AlwaysOn
    assert type(new.get_layer("shape")) is OwnShape
    assert type(new.get_layer("renamed")) is AugmentedDropout


class DropPath(layers.Layer):
    """Stochastic depth as KerasHub and others write it."""

    def __init__(self, drop_prob=0.0, **kwargs):
        super().__init__(**kwargs)
        self.drop_prob = drop_prob

    def call(self, x, training=None):
        if not training or self.drop_prob == 0:
            return x
        kept = keras.random.uniform((ops.shape(x)[0], 1, 1)) > self.drop_prob
        return x * ops.cast(kept, x.dtype) / (1 - self.drop_prob)


class StochasticDepth(DropPath):
    """As `keras.applications` call it."""


class DropoutPart(layers.Layer):
    """Dropout by its name alone: what it holds is reached."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.rate = 0.1
        self.drop = layers.Dropout(0.1)

    def call(self, x, training=None):
        return self.drop(x, training=training)


def test_stochastic_depth_is_named_where_it_drops():
    inputs = keras.Input((5, 8))
    x = DropPath(0.1, name="path")(inputs)
    x = StochasticDepth(0.2, name="depth")(x)
    x = DropPath(0, name="none")(DropPath(0.0, name="off")(x))
    x = AugmentedDropout(0.5, name="ours")(x)
    x = layers.GaussianNoise(0.1)(DropoutPart(name="part")(x))
    model = keras.Model(inputs, x)
    with pytest.warns(UserWarning) as caught:
        replace_dropout(model, augmented, in_place=True)
    (caught,) = (w for w in caught if w.category is UserWarning)
    assert str(caught.message).startswith(
        "The dropout inside these layers is not replaced: 'path' (DropPath), "
        "'depth' (StochasticDepth). 'path' (DropPath), 'depth' "
        "(StochasticDepth): their class draws by itself, one mask for both "
        "passes: put a dropout layer there"
    )


class Draws(keras.Model):
    def call(self, x):
        return keras.random.dropout(x, 0.5)


class HasDropout(keras.Model):
    """Its code has the words, and its dropout is an object."""

    def __init__(self):
        super().__init__()
        self.dropout = layers.Dropout(0.5)

    def call(self, x):
        return self.dropout(ops.nn.relu(x) + keras.random.uniform((8,)))


def test_calls_of_the_function_are_told_from_calls_of_a_layer():
    model = Draws(name="draws")
    model(X)
    with pytest.warns(UserWarning, match=r"'draws' \(Draws\): their code"):
        replace_dropout(model, augmented, in_place=True)
    model = HasDropout()
    model(X)
    replace_dropout(model, augmented, in_place=True)


def helper(x):
    return keras.random.dropout(x, 0.5, seed=1)


class DrawsInAMethod(keras.layers.Layer):
    def call(self, x):
        return self.attend(x)

    def attend(self, x):
        return helper(x)


class MakesOne(keras.layers.Layer):
    def call(self, x):
        return L.Dropout(0.5, seed=1)(x)


class Holder:
    def __init__(self, rate):
        self.drop = layers.Dropout(rate)


class Hides(keras.layers.Layer):
    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.holder = Holder(rate)

    def call(self, x):
        return self.holder.drop(x)


class AsksOnly(keras.layers.Layer):
    def call(self, x):
        return x if isinstance(self, layers.Dropout) else 2 * x


@pytest.mark.parametrize(
    "layer, reason",
    [
        (DrawsInAMethod, "their code calls a dropout function"),
        (MakesOne, "their code makes a dropout layer in each call"),
        (lambda name: Hides(0.5, name=name), "an object that is no layer"),
    ],
)
@pytest.mark.parametrize("in_place", [True, False])
def test_what_keras_does_not_see_is_named(layer, reason, in_place):
    inputs = keras.Input((8,))
    x = Hides(0, name="off")(AsksOnly(name="asks")(inputs))
    x = layer(name="it")(x)
    model = keras.Model(inputs, layers.Dropout(0.1)(x))
    with pytest.warns(UserWarning) as caught:
        replace_dropout(model, augmented, in_place=in_place)
    (caught,) = (w for w in caught if w.category is UserWarning)
    kind = type(model.get_layer("it")).__name__
    assert str(caught.message).startswith(
        f"The dropout inside these layers is not replaced: 'it' ({kind}). "
        f"'it' ({kind}): {reason}"
    )


def test_an_unbuilt_model_is_refused():
    model = Network()
    with pytest.raises(
        ValueError,
        match="Expected `model` to be built: .* Call the model once on data",
    ):
        replace_dropout(model, augmented, in_place=True)
    assert not any(stand_in(layer) for layer in drops(model))
    # This one makes no layers later.
    model = keras.Sequential([layers.Dense(2), layers.Dropout(0.5)])
    replace_dropout(model, augmented, in_place=True)
    assert stand_in(model.layers[1])


class Gan(keras.Model):
    def __init__(self):
        super().__init__()
        self.generator, self.critic = (
            keras.Sequential(
                [keras.Input((8,)), layers.Dropout(0.5), layers.Dense(8)]
            )
            for _ in range(2)
        )

    def train_step(self, data):
        return {"loss": ops.mean(self.critic(self.generator(data)))}


def test_a_model_without_call_of_its_own():
    model = Gan()
    replace_dropout(model, augmented, in_place=True)
    assert [type(stand_in(x)) for x in drops(model)] == [AugmentedDropout] * 2


def test_a_failure_leaves_the_model_as_it_was():
    model = network()
    asked = []

    def fails(old):
        asked.append(old)
        return AugmentedDropout(0.1) if len(asked) < 3 else 7

    with pytest.raises(ValueError, match="to return a layer or None for"):
        replace_dropout(model, fails, in_place=True)
    assert not any(stand_in(layer) for layer in drops(model))
    for wrong in (layers.BatchNormalization(), layers.PReLU()):
        with pytest.raises(
            ValueError, match="a layer without weights for 'attend/dropout"
        ):
            replace_dropout(
                functional(), lambda old, wrong=wrong: wrong, in_place=True
            )


@pytest.mark.backends
def test_a_rate_of_0_has_no_random_state():
    model = functional()
    inputs = keras.Input((5, 8))
    model = keras.Model(inputs, layers.Dropout(0, name="off")(model(inputs)))
    replace_dropout(
        model, lambda old: AugmentedDropout(old.rate, 1e-4), in_place=True
    )
    assert stand_in(model.get_layer("off")) is None
    with pytest.warns(
        UserWarning, match=r"'off' \(Dropout\): at rate 0 they have no random"
    ):
        replace_dropout(model, lambda old: Jumpout(0.1), in_place=True)
    assert len(model.non_trainable_variables) == 2
    # What needs none is taken.
    replace_dropout(model, lambda old: layers.Identity(), in_place=True)
    assert type(stand_in(model.get_layer("off"))) is layers.Identity


def test_a_seed_sets_the_state_and_none_keeps_it():
    model = keras.Sequential([keras.Input((8,)), layers.Dropout(0.5, seed=4)])
    x = np.ones((6, 8), "float32")
    model(x, training=True)
    state = model.layers[0].seed_generator.state
    replace_dropout(model, augmented, in_place=True)
    assert np.array(state).tolist() == [4, 1]
    replace_dropout(
        model, lambda old: AugmentedDropout(0.5, seed=9), in_place=True
    )
    np.testing.assert_array_equal(
        model(x, training=True), AugmentedDropout(0.5, seed=9)(x, training=True)
    )


def test_other_layers_of_keras_stand_in():
    model = keras.Sequential([keras.Input((8,)), layers.Dropout(0.5, seed=4)])
    x = np.ones((6, 8), "float32")
    replace_dropout(
        model, lambda old: layers.GaussianDropout(0.25, seed=3), in_place=True
    )
    np.testing.assert_array_equal(
        model(x, training=True),
        layers.GaussianDropout(0.25, seed=3)(x, training=True),
    )


def test_a_layer_of_each_time_step():
    inputs = keras.Input((5, 8))
    model = keras.Model(
        inputs, layers.TimeDistributed(layers.Dropout(0.5))(inputs)
    )
    replace_dropout(
        model, lambda old: AugmentedDropout(old.rate), in_place=True
    )
    y = ops.convert_to_numpy(model(np.ones_like(X), training=True))
    assert set(np.unique(y)) == {0, 2}
    assert not np.array_equal(y[:, 0], y[:, 1])


@pytest.mark.backends
def test_monte_carlo_reaches_the_changed_layers():
    model = functional()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        replace_dropout(model, lambda old: layers.Identity(), in_place=True)
        replace_dropout(model, augmented, in_place=True)
    samples = monte_carlo_predict(model, X, samples=3, seed=1, verbose=0)
    assert np.all(samples.std(axis=0).max(axis=(1, 2)) > 0)
    assert all(stand_in(layer) for layer in drops(model))


@pytest.mark.parametrize("in_place", [False, True])
def test_arguments_are_checked_first(in_place):
    model = functional()
    dense = layers.Dense(2)
    for wrong, match in (
        ((dense, augmented), "`model`. Expected a `keras.Model`. Received"),
        ((model, None), "`replacement`. Expected a function of the dropout"),
        ((model, AugmentedDropout), "such as `lambda old: Augmented"),
        ((model, AugmentedDropout(0.1)), "`replacement`. Expected a function"),
        ((model, augmented, "yes"), "`compile`. Expected True or False"),
    ):
        with pytest.raises(ValueError, match=match):
            replace_dropout(*wrong, in_place=in_place)
    with pytest.raises(ValueError, match="`in_place`. Expected True or False"):
        replace_dropout(model, augmented, in_place=1)
