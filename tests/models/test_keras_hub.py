"""Tasks of KerasHub, tiny and random, and other people's kinds of models."""

import contextlib
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_dropx.callbacks import taps
from keras_dropx.layers import AugmentedDropout
from keras_dropx.models import (
    monte_carlo_predict,
    reestimate_batch_norm,
    replace_dropout,
)
from keras_dropx.models.in_place import stand_in

pytestmark = [
    pytest.mark.full,
    # Of KerasHub itself.
    pytest.mark.filterwarnings("ignore"),
]
BACKEND = keras.config.backend()
SAMPLES = 4
RNG = np.random.default_rng(0)


def tokens(*names):
    found = {name: np.zeros((SAMPLES, 8), int) for name in names}
    found["token_ids"] = RNG.integers(1, 50, (SAMPLES, 8))
    if "padding_mask" in found:
        found["padding_mask"][:] = 1
    return found


def text(hub, name, *inputs, task="TextClassifier", **changes):
    sizes = {
        "vocabulary_size": 50,
        "num_layers": 2,
        "num_heads": 2,
        "hidden_dim": 8,
        "intermediate_dim": 16,
        "max_sequence_length": 8,
        "dropout": 0.1,
    }
    sizes = {k: v for k, v in (sizes | changes).items() if v is not None}
    backbone = getattr(hub.models, f"{name}Backbone")(**sizes)
    x = tokens(*(inputs or ("padding_mask",)))
    if task is None:
        return backbone, x, None
    kind = getattr(hub.models, name + task)
    if task != "TextClassifier":
        return kind(backbone, preprocessor=None), x, x["token_ids"]
    return kind(backbone, num_classes=2, preprocessor=None), x, np.ones(SAMPLES)


def pairs(hub, name, task, **changes):
    model, x, y = text(hub, name, "padding_mask", task=task, **changes)
    x = {
        f"{side}_{key}": value
        for side in ("encoder", "decoder")
        for key, value in x.items()
    }
    return model, x, y


def image(hub, name, **sizes):
    kind = getattr(hub.models, f"{name}Backbone")
    backbone = kind(image_shape=(32, 32, 3), **sizes)
    model = getattr(hub.models, f"{name}ImageClassifier")(
        backbone, num_classes=2, preprocessor=None, dropout=0.2
    )
    x = RNG.uniform(size=(SAMPLES, 32, 32, 3)).astype("float32")
    return model, x, np.ones(SAMPLES)


def masked(hub):
    model, x, _ = text(
        hub, "Bert", "padding_mask", "segment_ids", task="MaskedLM"
    )
    x["mask_positions"] = np.zeros((SAMPLES, 2), int)
    return model, x, np.ones((SAMPLES, 2))


def llama(hub):
    return text(
        hub,
        "Llama",
        task="CausalLM",
        num_heads=None,
        max_sequence_length=None,
        num_query_heads=2,
        num_key_value_heads=1,
    )


def t5(hub):
    """There is no task of it: its backbone is trained on its states."""
    model, x, _ = pairs(hub, "T5", None, max_sequence_length=None)
    shape = (SAMPLES, 8, 8)
    y = {
        f"{part}coder_sequence_output": np.ones(shape) for part in ("en", "de")
    }
    return model, x, y


def efficient_net(hub):
    return image(
        hub,
        "EfficientNet",
        stackwise_width_coefficients=[1.0] * 2,
        stackwise_depth_coefficients=[1.0] * 2,
        stackwise_kernel_sizes=[3] * 2,
        stackwise_num_repeats=[2] * 2,
        stackwise_input_filters=[8] * 2,
        stackwise_output_filters=[8] * 2,
        stackwise_expansion_ratios=[1, 2],
        stackwise_squeeze_and_excite_ratios=[0.25] * 2,
        stackwise_strides=[1, 2],
        stackwise_block_types=["v1"] * 2,
        dropout=0.2,
    )


# Each with the number of its active dropout objects.
TASKS = {
    "BERT": (
        8,
        lambda hub: text(hub, "Bert", "padding_mask", "segment_ids"),
    ),
    "GPT-2": (7, lambda hub: text(hub, "GPT2", task="CausalLM")),
    "ViT": (
        8,
        lambda hub: image(
            hub,
            "ViT",
            patch_size=8,
            num_layers=2,
            num_heads=2,
            hidden_dim=8,
            mlp_dim=16,
            dropout_rate=0.1,
            attention_dropout=0.1,
        ),
    ),
    "RoBERTa": (7, lambda hub: text(hub, "Roberta")),
    "DeBERTa": (10, lambda hub: text(hub, "DebertaV3", bucket_size=4)),
    "ALBERT": (
        5,
        lambda hub: text(
            hub, "Albert", "padding_mask", "segment_ids", embedding_dim=8
        ),
    ),
    "DistilBERT": (8, lambda hub: text(hub, "DistilBert")),
    "OPT": (6, lambda hub: text(hub, "OPT", task="CausalLM")),
    "Llama": (4, llama),
    "BART": (18, lambda hub: pairs(hub, "Bart", "Seq2SeqLM")),
    "T5": (20, t5),
    "FNet": (4, lambda hub: text(hub, "FNet", "segment_ids", num_heads=None)),
    "EfficientNet": (3, efficient_net),
    "ResNet": (
        1,
        lambda hub: image(
            hub,
            "ResNet",
            input_conv_filters=[64],
            input_conv_kernel_sizes=[3],
            stackwise_num_filters=[64, 64],
            stackwise_num_blocks=[1, 1],
            stackwise_num_strides=[1, 2],
            block_type="basic_block",
        ),
    ),
    "MiT": (
        5,
        lambda hub: image(
            hub,
            "MiT",
            layerwise_depths=[1, 1],
            hidden_dims=[4, 8],
            num_layers=2,
            layerwise_num_heads=[1, 2],
            layerwise_sr_ratios=[2, 1],
            max_drop_path_rate=0.1,
            layerwise_patch_sizes=[7, 3],
            layerwise_strides=[4, 2],
        ),
    ),
    "masked BERT": (7, masked),
}
if BACKEND != "tensorflow":
    TASKS = dict(list(TASKS.items())[:3])


@pytest.fixture(scope="module")
def hub():
    return pytest.importorskip("keras_hub")


def augmented(old):
    return AugmentedDropout(old.rate, 0.1)


def drops(model):
    return [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, layers.Dropout) and layer.rate > 0
    ]


def outputs(model, x):
    return [
        ops.convert_to_numpy(tensor)
        for tensor in keras.tree.flatten(model(x, training=False))
    ]


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def replaced(model):
    """Replaces in place, and returns the warnings of that."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert replace_dropout(model, augmented, in_place=True) is model
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("name", TASKS)
def test_each_dropout_object_is_reached(name, hub, tmp_path):
    count, make = TASKS[name]
    model, x, y = make(hub)
    before = outputs(model, x)
    paths = [variable.path for variable in model.variables]
    model.save_weights(tmp_path / "plain.weights.h5")
    texts = replaced(model)
    if name == "MiT":  # Its stochastic depth is named, and nothing else.
        (text,) = texts
        head = text.split(". ")[0].split(": ")[1]
        assert all(part.endswith(" (DropPath)") for part in head.split(", "))
    else:
        assert texts == []
    assert len(drops(model)) == count
    assert all(stand_in(layer) for layer in drops(model))
    assert_same(outputs(model, x), before)
    assert [variable.path for variable in model.variables] == paths
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", "mse" if isinstance(y, dict) else loss)
    weights = model.get_weights()
    model.fit(x, y, verbose=0)
    pairs = zip(weights, model.get_weights(), strict=True)
    assert not all(np.array_equal(*pair) for pair in pairs)
    # Weight files load both ways, a loaded model has its own dropout.
    trained = outputs(model, x)
    model.save_weights(tmp_path / "ours.weights.h5")
    model.save(tmp_path / "model.keras")
    model.load_weights(tmp_path / "plain.weights.h5")
    assert_same(outputs(model, x), before)
    twin = type(model).from_config(model.get_config())
    twin(x)
    twin.load_weights(tmp_path / "ours.weights.h5")
    assert_same(outputs(twin, x), trained)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same(outputs(loaded, x), trained)
    for other in (twin, loaded):
        assert len(drops(other)) == count
        assert not any(stand_in(layer) for layer in drops(other))


@pytest.mark.skipif(BACKEND == "torch", reason="compiles no Keras layers")
def test_bert_in_mixed_precision_under_xla(hub):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model, x, y = TASKS["BERT"][1](hub)
    replaced(model)
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=True,
    )
    model.fit(x, y, verbose=0)


def test_the_masks_in_bert_are_ours(hub):
    model, x, _ = TASKS["BERT"][1](hub)
    replaced(model)
    layer = AugmentedDropout(0.1, 0.1)
    ones = np.ones((20, 30), "float32")
    for old in drops(model):
        for each in (old, layer):
            each.seed_generator.state.assign([3, 5])
        ours, theirs = (
            ops.convert_to_numpy(each(ones, training=True))
            for each in (old, layer)
        )
        np.testing.assert_array_equal(ours, theirs)
    states = [np.array(old.seed_generator.state) for old in drops(model)]
    model(x, training=True)
    for old, state in zip(drops(model), states, strict=True):
        assert (np.array(old.seed_generator.state) - state)[1] == 1


def seen(model, x):
    """Inputs and outputs of each dropout object in one training call."""
    found = []
    with contextlib.ExitStack() as stack:
        for layer in drops(model):
            stack.enter_context(
                taps.noted_inputs_and_outputs(
                    layer, lambda *pair: found.append(pair)
                )
            )
        outputs = model(x, training=True)
    assert len(found) == len(drops(model))
    return outputs, found


@pytest.mark.skipif(BACKEND != "tensorflow", reason="where Keras rounds it")
def test_a_small_rate_in_bert_is_realised_in_bfloat16(hub, assert_share):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model, x, _ = text(hub, "Bert", "padding_mask", "segment_ids", dropout=1e-3)
    x = {name: np.repeat(value, 500, axis=0) for name, value in x.items()}

    def dropped():
        found = seen(model, x)[1][:-1]  # The head has a rate of its own.
        n = sum(int(ops.sum(ops.cast(x != 0, int))) for x, _ in found)
        kept = sum(int(ops.sum(ops.cast(y != 0, int))) for _, y in found)
        return n - kept, n

    count, n = dropped()
    assert n > 1e6
    assert count > 7e-3 * n  # Keras draws from 128 numbers.
    replaced(model)
    assert_share(*dropped(), 1e-3)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a tape of TensorFlow")
def test_gradients_in_bert_have_a_mask_of_their_own(hub, assert_share):
    import tensorflow as tf

    model, x, _ = TASKS["BERT"][1](hub)
    x = {name: np.repeat(value, 50, axis=0) for name, value in x.items()}
    for new, share in (
        (None, 1),
        (lambda old: AugmentedDropout(old.rate, 0.3), 0.7),
    ):
        replace_dropout(model, new or (lambda old: None), in_place=True)
        with tf.GradientTape() as tape:
            outputs, found = seen(model, x)
            loss = ops.sum(outputs[:, 0])
        slopes = tape.gradient(loss, found)
        for (_, y), (back, front) in zip(found, slopes, strict=True):
            kept = np.logical_and(y != 0, front != 0)
            assert kept.sum() > 300
            assert_share(np.sum(back[kept] != 0), kept.sum(), share)


# Two logical devices stand for two GPUs; they are set before anything else.
REPLICAS = """
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
import keras_hub
import numpy as np
from keras_dropx.layers import AugmentedDropout
from keras_dropx.models import replace_dropout
from tests.models.test_keras_hub import text

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model, x, _ = text(
        keras_hub, "Bert", "padding_mask", "segment_ids", num_layers=1
    )


def agree():
    step = tf.function(lambda: model(x, training=True))
    first, second = strategy.run(step).values
    return np.array_equal(first, second)


assert agree()
replace_dropout(
    model, lambda old: AugmentedDropout(old.rate), in_place=True
)
assert not agree()
"""


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a strategy of TensorFlow")
def test_replicas_of_bert_draw_masks_of_their_own(hub):
    done = subprocess.run(
        [sys.executable, "-c", REPLICAS], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_monte_carlo_of_bert(hub):
    model, x, _ = TASKS["BERT"][1](hub)
    replaced(model)
    samples = monte_carlo_predict(model, x, samples=3, verbose=0)
    assert np.all(samples.std(axis=0) > 0)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="one backend is enough")
@pytest.mark.parametrize("name", ["BERT", "ResNet"])
def test_a_copy_of_a_task_is_plain(name, hub):
    model, x, _ = TASKS[name][1](hub)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        new = replace_dropout(model, augmented)
    texts = [str(warning.message) for warning in caught]
    assert sum("stay behind" in text for text in texts) == 1
    assert sum("`in_place=True` reaches" in text for text in texts) == (
        name == "BERT"
    )
    assert_same(outputs(new, x), outputs(model, x))
    assert any(type(part) is AugmentedDropout for part in new.layers)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="one backend is enough")
def test_a_copy_that_cannot_be_made_names_the_other_way(hub):
    model, _, _ = TASKS["ViT"][1](hub)
    with pytest.raises(
        ValueError, match=r"\(ViT\w+\) cannot be copied.*`in_place=True`"
    ):
        replace_dropout(model, augmented)


def convolutional(tcn):
    inputs = keras.Input((16, 3))
    x = tcn.TCN(
        4, dilations=(1, 2), dropout_rate=0.2, use_batch_norm=True, name="tcn"
    )(inputs)
    return keras.Model(inputs, layers.Dense(1)(x))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_keras_tcn(policy, tmp_path):
    tcn = pytest.importorskip("tcn")
    keras.config.set_dtype_policy(policy)
    model = convolutional(tcn)
    x = RNG.normal(size=(SAMPLES, 16, 3)).astype("float32")
    before = outputs(model, x)
    paths = [variable.path for variable in model.variables]
    model.save_weights(tmp_path / "plain.weights.h5")
    assert replaced(model) == []
    assert len(drops(model)) == 4
    assert all(stand_in(layer) for layer in drops(model))
    assert_same(outputs(model, x), before)
    model.compile("sgd", "mse", jit_compile=BACKEND != "torch")
    model.fit(x, np.ones((SAMPLES, 1)), verbose=0)
    assert [variable.path for variable in model.variables] == paths
    trained = outputs(model, x)
    assert not np.array_equal(trained, before)
    model.save_weights(tmp_path / "ours.weights.h5")
    model.load_weights(tmp_path / "plain.weights.h5")
    assert_same(outputs(model, x), before)
    twin = convolutional(tcn)
    twin.load_weights(tmp_path / "ours.weights.h5")
    assert_same(outputs(twin, x), trained)
    # Batch normalisation inside the layer is re-estimated, too.
    reestimate_batch_norm(model, x, in_place=True)
    assert not np.array_equal(outputs(model, x), before)
