"""Properties that hold for every shape, dtype and hyper-parameter."""

import json

import keras
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_dropx.layers import (
    AugmentedDropout,
    BackwardDropout,
    ForwardDropout,
    Jumpout,
)

rates = st.one_of(
    st.sampled_from([0.0, 1e-4, 1e-3, 0.25, 0.5, 0.999, 1 - 2**-53]),
    st.floats(0, 1, exclude_max=True),
)
exponents = st.one_of(
    st.sampled_from(["mean", "variance", "batchnorm"]), st.floats(0, 1)
)
shapes = st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple)
dtypes = st.sampled_from(["float32", "float16", "bfloat16"])


@st.composite
def layers(draw, rank, dtype, adaptive=False):
    options = {"seed": draw(st.integers(0, 2**31 - 1)), "dtype": dtype}
    if draw(st.booleans()):
        sizes = st.sampled_from([None, 1])
        options["noise_shape"] = tuple(draw(sizes) for _ in range(rank))
    kind = draw(
        st.sampled_from(["augmented", "forward", "backward", "jumpout"])
    )
    if kind == "backward":
        return BackwardDropout(draw(rates), **options)
    options["rescale"] = draw(exponents)
    if kind == "forward":
        return ForwardDropout(draw(rates), **options)
    if kind == "augmented":
        coupling = draw(st.sampled_from(["nested", "independent"]))
        return AugmentedDropout(draw(rates), draw(rates), coupling, **options)
    options["per_sample"] = draw(st.booleans()) and adaptive
    options["backward_rate"] = draw(rates)
    options["adaptive"] = adaptive
    if draw(st.booleans()):
        return Jumpout(sigma=draw(st.floats(0, 2)), **options)
    highest = 0.6 if adaptive else 0.999
    return Jumpout(rate=draw(st.floats(0, highest)), **options)


@st.composite
def cases(draw, adaptive=False):
    """A layer, and x and dy of its dtype, with zeros and large values."""
    shape, dtype = draw(shapes), draw(dtypes)
    layer = draw(layers(len(shape), dtype, adaptive))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([1e-3, 1.0, 1e4]))
    x, dy = (scale * rng.normal(size=(2, *shape))).astype("float32")
    if draw(st.booleans()):
        x[..., ::2] = 0
    return layer, *(keras.ops.cast(array, dtype) for array in (x, dy))


def check(test):
    quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        suppress_health_check=quiet,
    )(test)


def again(layer, *arguments, vjp):
    """Calls with the words of the first call."""
    copy = layer.__class__.from_config(layer.get_config())
    return [
        keras.ops.convert_to_numpy(keras.ops.cast(array, "float32"))
        for array in vjp(copy, *arguments, mode="eager")
    ]


@check
@given(case=cases())
def test_outputs_and_gradients_are_0_or_the_exact_scale(case, vjp):
    layer, x, dy = case
    ones = keras.ops.ones_like(x)
    scales = again(layer, ones, ones, vjp=vjp)
    results = again(layer, x, dy, vjp=vjp)
    for scale, value, result in zip(scales, (x, dy), results, strict=True):
        assert len(set(scale[scale != 0])) <= 1 and np.isfinite(scale).all()
        dtype = layer.compute_dtype
        exact = keras.ops.cast(scale, dtype) * value
        exact = keras.ops.convert_to_numpy(keras.ops.cast(exact, "float32"))
        np.testing.assert_array_equal(result, np.where(scale == 0, 0, exact))


@check
@given(case=cases(adaptive=True))
def test_adaptive_jumpout_and_the_others_are_never_nan(case, vjp):
    layer, x, dy = case
    for value, result in zip(
        (x, dy), again(layer, x, dy, vjp=vjp), strict=True
    ):
        assert not np.isnan(result).any()
        value = keras.ops.convert_to_numpy(keras.ops.cast(value, "float32"))
        limit = 6.5e4 if layer.compute_dtype == "float16" else 3e38
        small = np.abs(value).astype("float64") * 2.0**32 < limit
        assert np.isfinite(result[small]).all()


@check
@given(case=cases(adaptive=True))
def test_inference_is_the_identity_and_configs_round_trip(case):
    layer, x, _ = case
    y = layer(x, training=False)
    assert keras.ops.convert_to_numpy(keras.ops.all(keras.ops.equal(x, y)))
    config = layer.get_config()
    copy = layer.__class__.from_config(json.loads(json.dumps(config)))
    restored = copy.get_config()
    if config["noise_shape"] is not None:
        assert tuple(restored["noise_shape"]) == tuple(config["noise_shape"])
    assert json.dumps(restored) == json.dumps(config)
