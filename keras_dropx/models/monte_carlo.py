import contextlib
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_dropx import errors
from keras_dropx.layers.backward_dropout import BackwardDropout
from keras_dropx.layers.dropout_family import drops, in_training


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
    model, x, samples=20, batch_size=32, seed=None, verbose="auto"
):
    """Predicts with dropout on, many times.

    The dropout of Keras (spatial, Gaussian and alpha dropout, the dropout
    inside its recurrent and attention layers) and of this package draws new
    masks for each sample. Everything else is in inference mode: batch
    normalisation, augmentation and noise layers.

    A rate that follows a schedule stays where it is. The variables of the
    model, random seeds and counters too, are afterwards what they were. The
    step is compiled once, as the model is compiled.

    Args:
        model: Built `keras.Model`, subclassed ones too.
        x: Array or structure of arrays, as the model takes it; a
            `keras.utils.PyDataset` or `tf.data.Dataset` of fixed order.
        samples: Positive integer, how many. Defaults to 20.
        batch_size: Positive integer, for arrays. Defaults to 32.
        seed: Integer; the same `seed` and `batch_size` give the same samples.
            None follows `keras.utils.set_random_seed`.
        verbose: "auto", 0, 1 or 2, as in `model.predict`. The bar counts the
            batches of all samples.

    Returns:
        Array (samples, n, …), or the structure of the model's outputs with
        such arrays.

    Raises:
        ValueError: If no layer of the model drops forward, `samples` is not
            positive or `x` is of another kind, such as a generator.

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
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise errors.invalid("samples", "a positive integer", samples)
    stochastic = [layer for layer in model._flatten_layers() if drops(layer)]
    if all(isinstance(layer, BackwardDropout) for layer in stochastic):
        raise ValueError(
            "Expected a model with dropout in its forward pass. Without, all "
            f"samples are the same. Received: model {model.name!r}"
        )
    if seed is None:
        seed = int(keras.random.SeedGenerator().state[0])
    state = model.non_trainable_variables
    before = [keras.ops.copy(variable) for variable in state]
    repeated = _repeated(x, samples, batch_size)
    with _strategy_scope(model):
        sampler = _Sampler(model, stochastic)
    if model.compiled:
        sampler.jit_compile = model.jit_compile
        sampler.run_eagerly = model.run_eagerly
    try:
        seeds = [v for v in state if v.name == "seed_generator_state"]
        held = sampler.held()
        for index, variable in enumerate(seeds):
            entropy = np.random.SeedSequence((seed, index))
            # torch takes 31 bits; the sampler counts words up.
            word = int(entropy.generate_state(1)[0]) // 4
            step = 0
            if any(variable is state for state in held):
                step = int(ops.convert_to_numpy(variable)[1])
            variable.assign([word, step])
        with _seeded_generator(seed):
            drawn = sampler.predict(repeated, verbose=verbose)
    finally:
        for variable, value in zip(state, before, strict=True):
            variable.assign(value)
    return keras.tree.map_structure(
        lambda array: array.reshape(samples, -1, *array.shape[1:]), drawn
    )


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

    Reference:
        Houlsby et al., 2011: Bayesian Active Learning for Classification and
        Preference Learning, Eq. 2.
    """
    samples = np.asarray(samples, "float64")
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


class _Sampler(keras.Model):
    """The model in inference mode, with its dropout on."""

    def __init__(self, model, stochastic):
        # The model around has no cast of its own to add.
        super().__init__(name="monte_carlo", autocast=False)
        self.model = model
        self.stochastic = stochastic

    def call(self, inputs):
        held = [
            (state, ops.add(state, ops.convert_to_tensor([1, 0], state.dtype)))
            for state in self.held()
        ]
        with contextlib.ExitStack() as stack:
            for layer in self.stochastic:
                stack.enter_context(in_training(layer))
            outputs = self.model(inputs, training=False)
        for state, following in held:
            state.assign(following)
        return outputs

    def held(self):
        """The random states whose counter is the step of a schedule.

        Each call draws under the next word and leaves the step as it is.
        """
        return [
            layer.seed_generator.state
            for layer in self.stochastic
            if getattr(layer, "scheduled", False)
        ]


class _Repeated(keras.utils.PyDataset):
    """Batches, read through once for each sample."""

    def __init__(self, batch, batches, samples):
        super().__init__()
        self.batch = batch
        self.batches = batches
        self.samples = samples

    def __len__(self):
        return self.batches * self.samples

    def __getitem__(self, index):
        return self.batch(index % self.batches)


def _repeated(x, samples, batch_size):
    if hasattr(x, "element_spec"):  # tf.data.Dataset
        return x.repeat(samples)
    if isinstance(x, keras.utils.PyDataset):
        return _Repeated(x.__getitem__, len(x), samples)
    arrays = keras.tree.flatten(x)
    if not all(hasattr(array, "shape") for array in arrays):
        raise errors.invalid("x", "arrays, a PyDataset or a tf.data.Dataset", x)
    sizes = {len(array) for array in arrays}
    if len(sizes) != 1:
        raise errors.invalid(
            "x", f"arrays of one length, not of {sorted(sizes)}", type(x)
        )

    def batch(index):
        part = slice(index * batch_size, (index + 1) * batch_size)
        inputs = keras.tree.map_structure(lambda array: array[part], x)
        if isinstance(x, (list, tuple)):
            inputs = inputs[0] if len(inputs) == 1 else tuple(inputs)
        return (inputs,)  # else a pair would be read as (x, y)

    return _Repeated(batch, -(-sizes.pop() // batch_size), samples)


@contextlib.contextmanager
def _seeded_generator(seed):
    """Seeds torch's own generator, from which Keras' Dropout draws."""
    if keras.config.backend() != "torch":
        yield
        return
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _strategy_scope(model):
    """The scope of the TensorFlow strategy under which a model was made."""
    if keras.config.backend() == "tensorflow":
        return model.distribute_strategy.scope()
    return contextlib.nullcontext()


def _entropy(p):
    return -np.sum(p * np.log(np.where(p > 0, p, 1)), -1)
