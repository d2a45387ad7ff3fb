import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_dropx.experiments.baselines import distill
from keras_dropx.layers import AugmentedDropout
from keras_dropx.models import monte_carlo_predict, replace_dropout

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 6)).astype("float32")


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def teacher(softmax=False, norm=False):
    """A network for which weight scaling is poor: few units, large weights."""
    inputs = keras.Input((6,))
    x = layers.Dense(8, "tanh", kernel_initializer="he_normal")(inputs)
    if norm:
        x = layers.BatchNormalization()(x)
    x = AugmentedDropout(0.5)(x)
    normal = keras.initializers.RandomNormal(stddev=3.0)
    x = layers.Dense(
        3, "softmax" if softmax else None, kernel_initializer=normal
    )(x)
    return keras.Model(inputs, x, name="net")


def kl(p, q):
    return np.mean(np.sum(p * (np.log(p) - np.log(q)), axis=-1))


def probabilities(outputs, from_logits):
    outputs = outputs.astype("float64")
    return softmax(outputs) if from_logits else outputs


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "from_logits, jit_compile", [(False, False), (True, True)]
)
def test_the_student_is_nearer_to_the_monte_carlo_mean(
    from_logits, jit_compile
):
    model = teacher(softmax=not from_logits)
    model.compile(jit_compile=jit_compile)
    samples = monte_carlo_predict(model, X, 400, 64, seed=7, verbose=0)
    mean = probabilities(samples, from_logits).mean(0)
    x = np.tile(X, (60, 1))
    student = distill(model, x, 2, 16, 0.01, 1, from_logits=from_logits)
    before, after = (
        kl(mean, probabilities(x.predict(X, verbose=0), from_logits))
        for x in (model, student)
    )
    assert before > 0.1
    assert after < 0.1 * before


def test_the_loss_is_the_divergence_from_the_teacher():
    # Two steps at rate 1, by hand: the gradient for z = hV is
    # hᵀ(student - teacher)/n, h without masks. All samples are one, so their
    # order does not matter.
    x = np.tile(X[:1], (64, 1))
    inputs = keras.Input((6,))
    normal = keras.initializers.RandomNormal(stddev=1.0)
    dense = layers.Dense(3, use_bias=False, kernel_initializer=normal)
    model = keras.Model(inputs, dense(AugmentedDropout(0.5)(inputs)))
    kernel = dense.get_weights()[0].astype("float64")
    student = distill(model, x, 2, 64, 1.0, 5, from_logits=True)
    word = int(np.random.SeedSequence((5, 0)).generate_state(1)[0]) // 2
    site = AugmentedDropout(0.5)
    site.seed_generator.state.assign([word, 0])
    moved, velocity = kernel.copy(), 0.0
    for _ in range(2):
        masked = ops.convert_to_numpy(site(x, training=True))
        difference = softmax(x @ moved) - softmax(masked @ kernel)
        gradient = x.T @ difference / 64
        assert np.abs(gradient).max() > 0.01
        velocity = 0.9 * velocity - gradient
        moved += velocity
    (ours,) = student.get_weights()
    np.testing.assert_allclose(ours, moved, rtol=1e-4, atol=1e-5)


def test_the_teacher_is_as_it_was_and_the_student_apart():
    model = teacher(norm=True)
    model.compile("sgd", "mse")
    before = [ops.convert_to_numpy(v) for v in model.variables]
    student = distill(model, X, 2, 16, 0.1, 1, from_logits=True)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)
    assert model.trainable and student.trainable
    assert student.name == model.name
    assert [x.name for x in student.layers] == [x.name for x in model.layers]
    own, others = ({id(v) for v in x.variables} for x in (student, model))
    assert not own & others
    for name in ("moving_mean", "moving_variance"):
        new, old = (getattr(x.layers[2], name) for x in (student, model))
        np.testing.assert_array_equal(new, old)
    moved = [
        not np.array_equal(a, b)
        for a, b in zip(
            student.trainable_variables,
            model.trainable_variables,
            strict=True,
        )
    ]
    assert all(moved) and len(moved) == 6


def test_the_student_starts_at_the_teacher():
    model = teacher()
    student = distill(model, X, 1, 16, 1e-30, 1, from_logits=True)
    np.testing.assert_array_equal(
        student.predict(X, verbose=0), model.predict(X, verbose=0)
    )


@pytest.mark.full
def test_the_seed_fixes_the_student():
    model = teacher()

    def weights(seed):
        student = distill(model, X, 2, 24, 0.1, seed, from_logits=True)
        return np.concatenate([w.ravel() for w in student.get_weights()])

    first = weights(1)
    keras.utils.set_random_seed(9)
    np.testing.assert_array_equal(weights(1), first)
    assert not np.array_equal(weights(2), first)


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    student = distill(teacher(), X, 1, 16, 0.1, 1, from_logits=True)
    assert all(np.all(np.isfinite(w)) for w in student.get_weights())


def test_a_model_without_dropout_is_refused():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(2)], name="dry")
    with pytest.raises(ValueError, match="model with dropout.*model 'dry'"):
        distill(model, X, 1, 16, 0.1, 1)


def test_dropout_replaced_in_place_is_refused():
    model = keras.Sequential([keras.Input((6,)), layers.Dropout(0.5)])
    replace_dropout(
        model, lambda old: AugmentedDropout(old.rate, 0.1), in_place=True
    )
    with pytest.raises(ValueError, match="in place.*AugmentedDropout stands"):
        distill(model, X, 1, 16, 0.1, 1)
