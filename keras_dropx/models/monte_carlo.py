import numbers
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_dropx import errors
from keras_dropx.layers.dropout_family import drops_forward, seed_generators
from keras_dropx.layers.interception import reachable
from keras_dropx.layers.stand_in import acting
from keras_dropx.models.arguments import (
    check_inputs,
    check_integer,
    check_model,
    check_seed,
    unwrapped,
)
from keras_dropx.models.sampler import Bar, Sampler
from keras_dropx.models.view import (
    predict,
    runs_keras_predict,
    view_of,
)


class Summary(NamedTuple):
    """What Monte Carlo samples say about each prediction.

    Attributes:
        mean: Array (n, …), the mean over the samples: the prediction.
        std: Array (n, …), the standard deviation over the samples (ddof 0).
        predictive_entropy: Array (n, …) without the class axis, in nats:
            H[mean p], the whole uncertainty. None for other outputs than
            class probabilities.
        mutual_information: Likewise, in nats: H[mean p] - mean H[p], the part
            on which the masks disagree, hence the model's own.
    """

    mean: Any
    std: Any
    predictive_entropy: Any = None
    mutual_information: Any = None


def monte_carlo_predict(
    model, x, samples=20, batch_size=32, seed=None, verbose="auto", steps=None
):
    """Predicts with dropout on, many times.

    The dropout of Keras (spatial, Gaussian and alpha dropout, the dropout
    inside its recurrent and attention layers) and of this package draws new
    masks for each sample. Everything else is in inference mode: batch
    normalisation, augmentation and noise layers. So is a dropout layer that
    the model's own code calls with `training=False`: it is off in training
    too. Dropout in a `Lambda` layer or by `keras.random.dropout` cannot be
    seen, and stays off.

    The samples come from the model's own `predict`, with all that a class adds
    to it: a `predict_step`, a preprocessor. It is compiled as that is, and
    again when a layer has changed.

    A rate that follows a schedule stays where it is. Nothing of the model is
    written to, random seeds and counters neither, and other threads may use
    it meanwhile: to them dropout is off. (On torch Keras' dropout draws from
    the one generator of the process: calls in several threads wait for each
    other there, and a training beside them has other masks than it would
    have. On JAX Keras' own `predict` and `evaluate` take the weights out of a
    model while they run: call the model itself in the other threads.)

    Args:
        model: Built `keras.Model`, subclassed ones too.
        x: What `model.predict` takes: array or structure of arrays, data
            frame, sparse matrix, `keras.utils.PyDataset`, `tf.data.Dataset`,
            generator of tuples; what a model with a preprocessor takes. Where
            a class has a `predict` of its own it is read once a sample, and
            cannot be a generator.
        samples: Positive integer, how many. Defaults to 20.
        batch_size: Positive integer, for arrays. Defaults to 32.
        seed: Integer, not negative; the same `seed` and `batch_size` give the
            same samples. None follows `keras.utils.set_random_seed`.
        verbose: "auto", 0, 1 or 2, as in `model.predict`. The bar counts the
            batches of all samples.
        steps: Positive integer, how many batches of `x` to read: all by
            default. Data without an end needs it; whether a generator ends
            cannot be known.

    Returns:
        Array (samples, n, …), or the structure of the model's outputs with
        such arrays.

    Raises:
        ValueError: If no layer of the model drops forward (at a rate above
            0), the model is not built, its `predict` does not go through
            Keras', a recurrent layer is stateful, an argument is out of its
            range, or `x` is of another kind or has no end.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((3,)), keras.layers.Dropout(0.5)]
    ... )
    >>> keras_dropx.models.monte_carlo_predict(
    ...     model, np.ones((4, 3)), samples=5, verbose=0
    ... ).shape
    (5, 4, 3)

    Reference:
        Gal, Ghahramani, 2016: Dropout as a Bayesian Approximation, ICML.
    """
    check_model(model)
    samples = check_integer("samples", samples)
    if batch_size is not None:
        batch_size = check_integer("batch_size", batch_size)
    if steps is not None:
        steps = check_integer("steps", steps)
    if not isinstance(verbose, (str, numbers.Integral)) or verbose not in (
        "auto",
        0,
        1,
        2,
    ):
        raise errors.invalid("verbose", "'auto', 0, 1 or 2", verbose)
    dropping = _dropping(model)
    generators = _generators(model, dropping)
    check_inputs(model, x, steps, once=runs_keras_predict(model))
    bar = Bar(samples, verbose)
    arguments = {
        "batch_size": batch_size,
        "steps": steps,
        "verbose": 0,
        "callbacks": [bar] if verbose else None,
    }
    arguments = {k: v for k, v in arguments.items() if v is not None}
    with (
        view_of(
            model,
            Sampler,
            dropping=dropping,
            generators=generators,
            held=_held_steps(dropping),
            drawn_seed=check_seed(seed),
            numbers=range(samples),
            bar=bar,
        ) as sampler,
        reachable(dropping),
    ):

        def predict_once():
            sampler.batch = 0
            drawn = predict(sampler, x, **arguments)
            if not sampler.batch:
                raise ValueError(
                    f"`predict` of {type(model).__name__} does not go through "
                    "`keras.Model.predict`, so its dropout cannot be reached. "
                    f"Received: model {model.name!r}"
                )
            return drawn

        if runs_keras_predict(model):
            # The samples of a batch are along the second axis.
            x = unwrapped(x)
            drawn = keras.tree.map_structure(
                lambda array: np.ascontiguousarray(array.swapaxes(0, 1)),
                predict_once(),
            )
        else:  # The class may do to the outputs what it likes.
            parts = []
            for number in range(samples):
                sampler.numbers = (number,)
                parts.append(predict_once())
            drawn = keras.tree.map_structure(
                lambda *arrays: np.stack(arrays), *parts
            )
    bar.close()
    return drawn


def summarize(samples, from_logits=False):
    """Sums up Monte Carlo samples.

    ```
    mean p = 1/T Σ_t p_t
    predictive entropy = H[mean p],  H[p] = -Σ_c p_c ln p_c
    mutual information = H[mean p] - 1/T Σ_t H[p_t]
    ```

    The two last are given for class probabilities: a last axis of at least
    two entries that are not negative and sum to 1. (For one sigmoid output p
    pass the two columns 1 - p and p.)

    Args:
        samples: Float array (samples, n, …).
        from_logits: Whether the last axis holds logits, to which softmax is
            applied first. Defaults to False.

    Returns:
        `Summary`.

    Raises:
        ValueError: If `samples` is no array of numbers or empty, or
            `from_logits` no bool.

    Reference:
        Houlsby et al., 2011: Bayesian Active Learning for Classification and
        Preference Learning, Eq. 2.
    """
    try:
        samples = np.asarray(samples, "float64")
    except (TypeError, ValueError, OverflowError):
        raise errors.invalid(
            "samples", "an array of numbers", samples
        ) from None
    if samples.ndim == 0 or samples.size == 0:
        raise errors.invalid(
            "samples", "an array (samples, n, …) that is not empty", samples
        )
    errors.check_bool("from_logits", from_logits)
    if from_logits:
        samples = np.exp(samples - samples.max(-1, keepdims=True))
        samples = samples / samples.sum(-1, keepdims=True)
    mean, std = samples.mean(0), samples.std(0)
    if (
        samples.ndim < 3
        or samples.shape[-1] < 2
        or samples.min() < 0
        or np.abs(samples.sum(-1) - 1).max() > 1e-3
    ):
        return Summary(mean, std)
    entropy = _entropy(mean)
    return Summary(mean, std, entropy, entropy - _entropy(samples).mean(0))


def _dropping(model):
    """Lists the layers that drop forward, and refuses a model without."""
    layers = model._flatten_layers()
    dropping = [layer for layer in layers if drops_forward(layer)]
    if not dropping:
        raise ValueError(
            "Expected a model with dropout in its forward pass, at a rate "
            "above 0. Without, all samples are the same. (Dropout in a "
            "`Lambda` layer or by `keras.random.dropout` cannot be seen.) "
            f"Received: model {model.name!r}"
        )
    for layer in layers:
        if isinstance(layer, keras.layers.RNN) and layer.stateful:
            raise ValueError(
                "Cannot sample from a stateful recurrent layer: its states go "
                f"on from batch to batch. Received: layer {layer.name!r}"
            )
    return dropping


def _generators(model, dropping):
    """Lists the seed generators of a model, each once."""
    for layer in dropping:
        parts = layer._flatten_layers()
        if not any(seed_generators(part) for part in parts):
            raise ValueError(
                f"Layer {layer.name!r} ({type(layer).__name__}) drops and "
                "holds no `keras.random.SeedGenerator`, so its masks cannot "
                "be drawn anew for each sample."
            )
    found = {}
    for layer in model._flatten_layers():
        for generator in seed_generators(layer):
            found[id(generator.state)] = generator
    return list(found.values())


def _held_steps(dropping):
    """The steps of schedules, by the `id` of the seed that counts them."""
    return {
        id(layer.seed_generator.state): int(
            ops.convert_to_numpy(layer.seed_generator.state)[1]
        )
        for layer in map(acting, dropping)
        if getattr(layer, "scheduled", False)
    }


def _entropy(p):
    return -np.sum(p * np.log(np.where(p > 0, p, 1)), -1)
