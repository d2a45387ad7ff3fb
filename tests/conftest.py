import contextlib
import gc
import math
import os
import subprocess
import sys

import keras
import ml_dtypes
import numpy as np
import pytest

BACKEND = keras.config.backend()
# The first of them is that of the fast set.
MODES = {
    "tensorflow": ["graph", "eager", "xla"],
    "jax": ["graph", "eager"],
    "torch": ["eager"],
}[BACKEND]

OTHERS = {"tensorflow", "jax", "torch"} - {BACKEND}
collect_ignore_glob = [f"*_{backend}.py" for backend in OTHERS]


def pytest_generate_tests(metafunc):
    if "mode" in metafunc.fixturenames:
        first, *others = MODES
        others = [pytest.param(mode, marks=pytest.mark.full) for mode in others]
        metafunc.parametrize("mode", [first, *others])


# The folders of many short tests.
CORE = {"random", "ops", "layers", "models", "callbacks"}

# On JAX each case of a test is compiled, in up to seconds.
CASES_ON_JAX = 3


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Takes out of the fast set what the markers of pyproject.toml say."""
    tests = {}
    for item in items:
        if BACKEND == "jax" and _is_long_on_jax(item):
            item.add_marker(pytest.mark.full)
        if not item.get_closest_marker("full"):
            tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for cases in tests.values():
        n = _fast_cases(cases[0], len(cases))
        kept = set(np.linspace(0, len(cases) - 1, n).round().tolist())
        for i, item in enumerate(cases):
            if i not in kept:
                item.add_marker(pytest.mark.full)
    # The files with the longest tests begin, so that no worker ends alone.
    items.sort(key=lambda item: item.path.parent.name in CORE)


def _is_long_on_jax(item):
    """Trainings of whole models and drawn cases, which TensorFlow runs too."""
    return (
        (
            item.path.parent.name in ("callbacks", "models")
            or item.path.stem == "test_properties"
        )
        and not item.path.stem.endswith("_jax")
        and not item.get_closest_marker("backends")
    )


def _fast_cases(item, cases):
    few = item.get_closest_marker("few")
    if few:
        return min(few.args[0], cases)
    if BACKEND == "jax" and item.path.parent.name == "layers":
        return min(CASES_ON_JAX, cases)
    return cases


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Runs a test that is marked `alone` in a process of its own."""
    if not pyfuncitem.get_closest_marker("alone") or "ALONE" in os.environ:
        return None
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", pyfuncitem.nodeid],
        cwd=pyfuncitem.config.rootpath,
        env={**os.environ, "ALONE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return True


@pytest.fixture(autouse=True)
def _fresh_keras():
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(autouse=True, scope="module")
def _small_heap():
    """Lets the collector pass over what earlier files have left for good.

    TensorFlow keeps each traced custom gradient, and KerasTuner collects after
    each trial: in the full set trials took four times as long.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def float64():
    """Lets the backend have float64 (JAX asks for a switch)."""
    switch = contextlib.nullcontext()
    if BACKEND == "jax":
        import jax

        switch = jax.enable_x64(True)
    with switch:
        yield


@pytest.fixture
def run():
    """Returns `run(function, *arrays, mode=...)`, the result as NumPy."""
    return _run


@pytest.fixture
def vjp():
    """Returns `vjp(layer_or_function, x, dy=None, mode="eager")`.

    A layer is called with `training=True` and keeps its new state. The result
    is `(y, dx)` as NumPy arrays; `dy` defaults to ones.
    """
    return _vjp


@pytest.fixture
def assert_share():
    """Returns a check of a count of `n` draws of probability `p`."""

    def check(count, n, p):
        error = math.sqrt(n * p * (1 - p))
        assert abs(int(count) - n * p) <= 4 * error, (count / n, p)

    return check


def _run(function, *arrays, mode="eager", signature=None):
    arrays = [keras.ops.convert_to_tensor(array) for array in arrays]
    if mode != "eager" and BACKEND == "tensorflow":
        import tensorflow as tf

        function = tf.function(function, signature, jit_compile=mode == "xla")
    elif mode != "eager" and BACKEND == "jax":
        import jax

        function = jax.jit(function)
    return keras.tree.map_structure(_numpy, function(*arrays))


def _numpy(x):
    # Keras' `convert_to_numpy` fails on bfloat16 of TensorFlow and torch.
    if BACKEND == "tensorflow":
        return x.numpy()
    if BACKEND == "torch" and x.dtype.is_floating_point and x.itemsize == 2:
        dtype = keras.backend.standardize_dtype(x.dtype)
        return x.float().numpy().astype(getattr(ml_dtypes, dtype, dtype))
    return keras.ops.convert_to_numpy(x)


def _vjp(layer, x, dy=None, mode="eager", signature=None):
    step = {
        "tensorflow": _tensorflow_step,
        "jax": _jax_step,
        "torch": _torch_step,
    }[BACKEND]
    variables = getattr(layer, "variables", [])
    state = []
    if BACKEND == "jax":
        state = [variable.value for variable in variables]
    dy = () if dy is None else (dy,)
    y, dx, state = _run(
        step(layer, len(state)), *state, x, *dy, mode=mode, signature=signature
    )
    for variable, value in zip(variables, state, strict=False):
        variable.assign(value)
    return y, dx


def _training_call(layer, x):
    if isinstance(layer, keras.Layer):
        return layer(x, training=True)
    return layer(x)


def _tensorflow_step(layer, _):
    import tensorflow as tf

    def step(x, dy=None):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = _training_call(layer, x)
        dy = tf.ones_like(y) if dy is None else tf.cast(dy, y.dtype)
        return y, tape.gradient(y, x, output_gradients=dy), []

    return step


def _torch_step(layer, _):
    import torch

    def step(x, dy=None):
        x = x.detach().requires_grad_()
        y = _training_call(layer, x)
        dy = torch.ones_like(y) if dy is None else dy.to(y.dtype)
        return y.detach(), torch.autograd.grad(y, x, dy)[0], []

    return step


def _jax_step(layer, states):
    import jax
    import jax.numpy as jnp

    def step(*arrays):
        state, (x, *dy) = arrays[:states], arrays[states:]

        def forward(x):
            pairs = zip(getattr(layer, "variables", []), state, strict=True)
            with keras.StatelessScope(state_mapping=list(pairs)) as scope:
                y = _training_call(layer, x)
            new = [
                scope.get_current_value(variable)
                for variable in getattr(layer, "variables", [])
            ]
            return y, new

        y, back, new = jax.vjp(forward, x, has_aux=True)
        dy = dy[0].astype(y.dtype) if dy else jnp.ones_like(y)
        return y, back(dy)[0], new

    return step


@pytest.fixture(scope="session")
def normal():
    """A million float32 normal numbers, none of them 0."""
    x = np.random.default_rng(0).normal(size=1_000_000).astype("float32")
    x[x == 0] = 1
    return x
