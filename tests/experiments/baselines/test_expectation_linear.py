import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_dropx.experiments.baselines import ExpectationLinear
from keras_dropx.layers import AugmentedDropout
from keras_dropx.models import monte_carlo_predict

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 6)).astype("float32")
Y = np.arange(20) % 3


def linear(seed=1):
    """Two linear maps, a mask between: z = (xU ⊙ ε)V."""
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(5, use_bias=False),
            AugmentedDropout(0.5, seed=seed),
            layers.Dense(3, use_bias=False),
        ]
    )


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def one_step(model, x=X, y=Y, **options):
    """Trains by SGD at rate 1: returns the loss and the gradients."""
    before = model.get_weights()
    model.compile(
        keras.optimizers.SGD(1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        **options,
    )
    loss = model.train_on_batch(x, y)
    return float(loss), [
        a - b for a, b in zip(before, model.get_weights(), strict=True)
    ]


def value_and_gradients(first, second, noise, strength, from_logits):
    """The objective in float64 by hand, its gradients by differences."""

    def objective(first, second):
        def h(z):
            return softmax(z) if from_logits else z

        hidden = X @ first
        z, z0 = (hidden * noise) @ second, hidden @ second
        loss = -np.log(softmax(z)[np.arange(20), Y]).mean()
        return loss + strength * ((h(z) - h(z0)) ** 2).sum(1).mean()

    gradients = []
    for index, array in enumerate((first, second)):
        gradient = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            values = []
            for step in (1e-6, -1e-6):
                moved = [first.copy(), second.copy()]
                moved[index][place] += step
                values.append(objective(*moved))
            gradient[place] = (values[0] - values[1]) / 2e-6
        gradients.append(gradient)
    return objective(first, second), gradients


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize(
    "options", [{"run_eagerly": True}, {"jit_compile": False}, {}]
)
def test_loss_and_gradients_are_the_formula(from_logits, options):
    model = linear()
    first, second = (
        model.layers[i].get_weights()[0].astype("float64") for i in (0, 2)
    )
    noise = AugmentedDropout(0.5, seed=1)(
        np.ones((20, 5), "float32"), training=True
    ).numpy()
    regularized = ExpectationLinear(model, 3.0, from_logits)
    loss, ours = one_step(regularized, **options)
    expected, gradients = value_and_gradients(
        first, second, noise, 3.0, from_logits
    )
    assert loss == pytest.approx(expected, rel=1e-5)
    for one, other in zip(ours, gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    # The penalty is a good part of it.
    plain, _ = value_and_gradients(first, second, noise, 0.0, from_logits)
    assert expected > plain + 0.05


def test_strength_0_is_the_model():
    models = [linear(), linear()]
    models[1].set_weights(models[0].get_weights())
    wrapped = ExpectationLinear(models[1], 0)
    results = [one_step(models[0]), one_step(wrapped)]
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    for one, other in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_it_has_the_variables_layers_and_predictions_of_the_model():
    model = linear()
    wrapped = ExpectationLinear(model, 1.0)
    assert wrapped.name == model.name
    assert [id(v) for v in wrapped.variables] == [
        id(v) for v in model.variables
    ]
    assert [layer for layer in wrapped.layers if layer in model.layers]
    one_step(wrapped)
    np.testing.assert_allclose(
        wrapped.predict(X, verbose=0), model.predict(X, verbose=0)
    )


def test_evaluation_has_no_penalty():
    model = linear()
    wrapped = ExpectationLinear(model, 100.0)
    for other in (model, wrapped):
        other.compile(
            "sgd",
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
    assert wrapped.evaluate(X, Y, verbose=0) == pytest.approx(
        model.evaluate(X, Y, verbose=0)
    )


def test_batch_statistics_move_once_a_step():
    inputs = keras.Input((6,))
    x = layers.BatchNormalization(momentum=0.9)(inputs)
    x = layers.Dense(3)(layers.Dropout(0.5)(x))
    wrapped = ExpectationLinear(keras.Model(inputs, x), 1.0)
    one_step(wrapped)
    mean = wrapped.layers[1].moving_mean.numpy()
    np.testing.assert_allclose(mean, 0.1 * X.mean(0), rtol=1e-4, atol=1e-6)


def test_activity_losses_are_counted_once():
    inputs = keras.Input((6,))
    x = layers.ActivityRegularization(l2=0.5)(inputs)
    outputs = layers.Dense(3, kernel_initializer="zeros")(x)
    wrapped = ExpectationLinear(keras.Model(inputs, outputs), 1.0)
    loss, _ = one_step(wrapped)
    regularizer = 0.5 * np.sum(X**2) / 20
    assert loss == pytest.approx(np.log(3) + regularizer, rel=1e-5)


def test_the_gap_closes():
    def gap(strength):
        keras.utils.set_random_seed(3)
        inputs = keras.Input((6,))
        x = layers.Dense(32, "tanh")(inputs)
        x = layers.Dense(3)(AugmentedDropout(0.5, seed=1)(x))
        model = ExpectationLinear(keras.Model(inputs, x), strength, True)
        model.compile(
            keras.optimizers.SGD(0.2),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=False,
        )
        x, y = np.tile(X, (200, 1)), np.tile(Y, 200)
        model.fit(x, y, batch_size=20, shuffle=False, verbose=0)
        samples = monte_carlo_predict(model, X, 100, seed=1, verbose=0)
        mean = softmax(samples.astype("float64")).mean(0)
        deterministic = softmax(model.predict(X, verbose=0))
        return np.mean(np.sum((mean - deterministic) ** 2, 1))

    assert gap(10.0) < 0.3 * gap(0.0)


@pytest.mark.parametrize("sequential", [False, True])
def test_it_saves_and_loads(sequential, tmp_path):
    model = linear()
    if not sequential:
        model = keras.Model(model.inputs, model.outputs, name="net")
    wrapped = ExpectationLinear(model, 2.0, True)
    one_step(wrapped)
    wrapped.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is ExpectationLinear and loaded.name == model.name
    assert loaded.strength == 2.0 and loaded.from_logits
    np.testing.assert_array_equal(
        loaded.predict(X, verbose=0), wrapped.predict(X, verbose=0)
    )
    # Random state included, the next step is the same.
    ours, theirs = (x.train_on_batch(X, Y) for x in (wrapped, loaded))
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)


def test_mixed_precision_keeps_the_loss_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    loss, gradients = one_step(ExpectationLinear(linear(), 1.0))
    assert np.isfinite(loss) and all(g.dtype == "float32" for g in gradients)
    model = ExpectationLinear(linear(), 1.0)
    model.compile("sgd", "mse")
    with tf.GradientTape():
        y = model(X, training=True)
        penalized = model.compute_loss(X, np.zeros((20, 3)), y)
    assert y.dtype == "bfloat16" and penalized.dtype == "float32"


def test_refusals():
    with pytest.raises(ValueError, match="`strength`. Expected a finite numb"):
        ExpectationLinear(linear(), -1)
    inputs = keras.Input((6,))
    for model in (
        keras.Model(),
        keras.Sequential([layers.Dense(2)]),
        keras.Model(inputs, [inputs, inputs]),
    ):
        with pytest.raises(ValueError, match="`model`. Expected a built Seq"):
            ExpectationLinear(model, 1.0)
