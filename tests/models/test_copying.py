import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_dropx.layers import AugmentedDropout
from keras_dropx.models import replace_dropout
from keras_dropx.models.copying import copy_model

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 5, 8)).astype("float32")


def augmented(old):
    return AugmentedDropout(old.rate)


def plain_copy(model):
    return copy_model(model, lambda layer: None)


def assert_same(new, old, x=X):
    ours, theirs = (ops.convert_to_numpy(model(x)) for model in (new, old))
    np.testing.assert_array_equal(ours, theirs)
    for one, other in zip(new.weights, old.weights, strict=True):
        assert one is not other and one.name == other.name
        assert one.trainable == other.trainable
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(*map(ops.convert_to_numpy, (one, other)))
    for one, other in zip(
        new._flatten_layers(), old._flatten_layers(), strict=True
    ):
        assert one.dtype_policy == other.dtype_policy


def attention():
    inputs = keras.Input((5, 8))
    attend = layers.MultiHeadAttention(2, 4, name="attend")
    x = layers.Dense(8, name="dense")(attend(inputs, inputs))
    return keras.Model(inputs, x)


def parts(model):
    attend = model.get_layer("attend")
    return attend._query_dense, attend._output_dense, model.get_layer("dense")


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "change",
    [
        lambda part: part.enable_lora(2),
        lambda part: part.quantize("int8"),
        lambda part: (part.enable_lora(2), part.quantize("int8")),
        lambda part: (part.quantize("int8"), part.enable_lora(2)),
    ],
    ids=["lora", "int8", "lora, int8", "int8, lora"],
)
def test_parts_that_methods_changed_come_along(change):
    model = attention()
    for part in parts(model):
        change(part)
        if part.lora_enabled:
            for factor in (part.lora_kernel_a, part.lora_kernel_b):
                factor.assign(RNG.normal(size=factor.shape))
    new = plain_copy(model)
    assert_same(new, model)
    for one, other in zip(parts(new), parts(model), strict=True):
        assert one.lora_enabled == other.lora_enabled
        assert one.quantization_mode == other.quantization_mode
        if one.lora_enabled:  # not merged: it trains on
            assert np.any(ops.convert_to_numpy(one.lora_kernel_b))


class Grows(layers.Layer):
    """Gets weights that its config knows nothing of."""

    def call(self, x):
        return x


def test_other_weights_are_told_truly():
    layer = Grows(name="grows")
    model = keras.Sequential([keras.Input((8,)), layer, layers.Dropout(0.5)])
    layer._tracker.unlock()
    layer.add_weight(shape=(3,))
    with pytest.raises(
        ValueError,
        match=r"Layer 'grows' \(Grows\) cannot be copied: a layer of its class "
        r".* changed after it was made. Pass `in_place=True`. Received: "
        r"\[\(3,\)\]; its copy has \[\]",
    ):
        replace_dropout(model, augmented)


@keras.saving.register_keras_serializable("tests")
class Parts(layers.Layer):
    """Leaves the dtypes of its parts to the global policy."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(8)

    def build(self, shape):
        self.late = layers.Dense(8)
        self.dense.build(shape)
        self.late.build(shape)

    def call(self, x):
        return self.late(self.dense(x))


@pytest.mark.backends
@pytest.mark.parametrize(
    "built, copied",
    [
        ("float32", "mixed_bfloat16"),
        ("mixed_bfloat16", "float32"),
    ],
)
def test_the_global_dtype_policy_does_not_matter(built, copied):
    keras.config.set_dtype_policy(built)
    inputs = keras.Input((5, 8))
    x = layers.SpatialDropout1D(0.5)(Parts()(inputs))
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)
    x = layers.TimeDistributed(layers.Dense(4))(layers.Identity()(x))
    model = keras.Model(inputs, x)
    keras.config.set_dtype_policy(copied)
    new = plain_copy(model)
    assert keras.config.dtype_policy().name == copied
    assert_same(new, model)
    assert new.dtype_policy == model.dtype_policy
    assert_same(replace_dropout(model, lambda old: layers.Identity()), model)


@keras.saving.register_keras_serializable("tests")
class Bare(layers.Layer):
    """Has no `get_config`: Keras derives its config."""

    def __init__(self, scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, x):
        return self.scale * x


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("make", [layers.Identity, Bare])
def test_replacements_without_get_config(policy, make, tmp_path):
    keras.config.set_dtype_policy(policy)
    model = keras.Sequential(
        [keras.Input((8,)), layers.Dense(8), layers.Dropout(0.5, name="drop")]
    )
    new = replace_dropout(model, lambda old: make())
    assert type(new.get_layer("drop")) is make
    new.save(tmp_path / "new.keras")
    x = X[:, 0]
    for again in (
        keras.models.load_model(tmp_path / "new.keras"),
        keras.models.clone_model(new),
        replace_dropout(new, augmented),
    ):
        again.set_weights(new.get_weights())
        np.testing.assert_array_equal(
            *(ops.convert_to_numpy(each(x)) for each in (again, model))
        )
        assert again.layers[1].dtype_policy.name == policy


class NoConfig(layers.Layer):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return x


def test_a_replacement_that_cannot_be_copied_is_named():
    model = keras.Sequential([keras.Input((8,)), layers.Dropout(0.5, name="d")])
    for in_place in (False, True):
        with pytest.raises(
            ValueError,
            match="`replacement` returned a layer that cannot be copied for "
            "'d': NoConfig needs a `get_config`",
        ):
            replace_dropout(model, lambda old: NoConfig(abs), True, in_place)


def test_layers_of_each_time_step_are_rebuilt(tmp_path):
    inputs = keras.Input((5, 8))
    inner = keras.Sequential(
        [layers.Dense(8), layers.Dropout(0.5, name="in"), layers.Dense(3)]
    )
    x = layers.TimeDistributed(layers.Dropout(0.5, name="a"), name="t")(inputs)
    x = layers.TimeDistributed(inner, name="u")(x)
    x = layers.TimeDistributed(layers.Dense(2))(x)
    model = keras.Model(inputs, x)
    model.get_layer("u").layer.layers[0].trainable = False
    new = replace_dropout(model, augmented)
    np.testing.assert_array_equal(
        *(ops.convert_to_numpy(each(X)) for each in (new, model))
    )
    assert type(new.get_layer("t").layer) is AugmentedDropout
    assert type(new.get_layer("u").layer.get_layer("in")) is AugmentedDropout
    assert [v.trainable for v in new.weights] == [
        v.trainable for v in model.weights
    ]
    new.save(tmp_path / "new.keras")
    loaded = keras.models.load_model(tmp_path / "new.keras")
    assert type(loaded.get_layer("t").layer) is AugmentedDropout
    np.testing.assert_array_equal(
        *(ops.convert_to_numpy(each(X)) for each in (loaded, model))
    )


def test_a_part_that_also_stands_in_the_graph():
    dense = layers.Dense(8)
    inputs = keras.Input((5, 8))
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(
        dense(inputs)
    )
    timed = layers.TimeDistributed(dense)
    model = keras.Model(inputs, timed(x))
    new = plain_copy(model)
    assert new.get_layer(timed.name).layer is new.get_layer(dense.name)
    np.testing.assert_array_equal(
        *(ops.convert_to_numpy(each(X)) for each in (new, model))
    )
