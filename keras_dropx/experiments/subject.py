"""The user's model as a plan's network: its sites, methods and trainers.

A long file: a build function and a compiled model side by side.
"""

import contextlib
import copy
import functools
import inspect
import warnings

import keras

from keras_dropx.errors import invalid
from keras_dropx.experiments import fingerprint
from keras_dropx.experiments.files import digest_of
from keras_dropx.experiments.fingerprint import said
from keras_dropx.experiments.named_methods import (
    ACTIVATION,
    masking_layer,
    without,
)
from keras_dropx.experiments.train import Trainer
from keras_dropx.experiments.user_data import arguments_of
from keras_dropx.models import replace_dropout
from keras_dropx.models.copying import compile_like


class Subject:
    """A model of the user's, made anew with the layers of a method.

    Args:
        model: Function `build(dropout)` or `build(dropout, activation)` that
            returns a compiled `keras.Model`, or such a model.
        start: "fresh" or "given".
        batch: First batch of the training data, (x, y, sample_weight): what
            is not built is built on it.

    Attributes:
        rates: List of the rates of the sites.
        activations: List of what activations were asked for.
        plain: The model without dropout.
    """

    def __init__(self, model, start, batch):
        self.model = model
        self.start = start
        self.batch = batch
        self.is_model = isinstance(model, keras.Model)
        self.takes_activation = False
        if self.is_model:
            _check_compiled(model)
            self._build(model)
            self.given = model.get_weights()
            self.fresh = _is_fresh(model, start)
            self.in_place = not _copies_reach_all(model)
        elif callable(model):
            if start == "given":
                raise invalid(
                    "start", "'fresh' where `model` is a function", start
                )
            self.takes_activation = takes_activation(model)
        else:
            raise invalid(
                "model",
                "a function build(dropout) or a compiled keras.Model",
                model,
            )
        self.rates, self.activations = [], []
        self.drawn = None, None
        keras.utils.set_random_seed(0)
        self.plain, _ = self._make(without, None, self.rates, self.activations)
        if not any(self.rates) and not self.activations:
            raise invalid(
                "model",
                "at least one dropout site: a call of `dropout` with a rate "
                "above 0, or a Dropout layer that can be reached",
                model,
            )

    @property
    def has_batch_norm(self):
        """Whether training moves statistics of batch normalisation."""
        return any(
            layer.trainable
            for layer in _layers(self.plain, keras.layers.BatchNormalization)
        )

    def __call__(self, input_shape, num_classes, dropout, sites=None):
        """Returns the model with the layers of a function of a rate."""
        return self._make(dropout or without, None)[0]

    def get_config(self):
        """Returns what makes the model, for the identity of a run."""
        return dict(self._config)

    @functools.cached_property
    def _config(self):
        config = {
            "config": fingerprint.network(self.plain),
            "compiled": fingerprint.compilation(self.plain),
            "rates": list(self.rates),
            "activations": [said(a) for a in self.activations],
            "start": self.start,
        }
        if self.is_model:
            kept = [
                said(value)
                for value, fresh in zip(self.given, self.fresh, strict=True)
                if not fresh
            ]
            config["weights"] = digest_of(kept)
        return config

    def layers(self, dropout, activation):
        """Returns the configurations of a method's layers, JSON-able."""
        found = [masking_layer(dropout, rate) for rate in self.rates]
        if activation is not None:
            found += [activation(name) for name in self.activations]
        # What says nothing of a layer's numbers.
        unsaid = {"name", "dtype", "seed", "trainable"}
        return [
            {key: v for key, v in said(layer).items() if key not in unsaid}
            for layer in found
        ]

    def initial_weights(self, seed):
        """Returns the weights of the model without dropout under a seed."""
        if self.is_model and self.start == "given":
            return self.given
        if self.drawn[0] != seed:  # One draw for all methods of a seed.
            self.drawn = seed, self._drawn(seed)
        return self.drawn[1]

    def _drawn(self, seed):
        keras.utils.set_random_seed(seed)
        if not self.is_model:
            return self._make(without, None)[0].get_weights()
        new = _clone(self.model)
        self._build(new)
        return [
            drawn if fresh else given
            for drawn, given, fresh in zip(
                new.get_weights(), self.given, self.fresh, strict=True
            )
        ]

    def trainer(
        self,
        name,
        dropout,
        mask_offset,
        epochs,
        batch_size,
        fit,
        callbacks,
        reestimates,
    ):
        """Returns the `Trainer` of a method.

        With `reestimates`, it evaluates besides with the statistics of batch
        normalisation re-estimated, where there is some.

        Raises:
            ValueError: If the model has other parameters than without dropout.
        """
        model, sites = self._make(dropout, ACTIVATION.get(name))
        shapes = [tuple(variable.shape) for variable in model.weights]
        own = {id(v) for site in sites for v in site.weights}
        if own or shapes != [tuple(v.shape) for v in self.plain.weights]:
            raise ValueError(
                "Invalid value received for argument `methods`. Expected "
                "models of the same parameters. Received: method "
                f"{name!r} with {model.count_params()} in place of "
                f"{self.plain.count_params()}"
            )
        again = reestimates and self.has_batch_norm
        # On JAX and torch the first `fit` of what has not built its metrics
        # looks at a batch, and so draws another order than all later ones.
        x, y, weight = self.batch
        model.test_on_batch(x, y, sample_weight=weight)
        known = {id(v) for v in model.weights}
        known |= {
            id(site.seed_generator.state)
            for site in sites
            if getattr(site, "seed_generator", None) is not None
        }

        def evaluate(network, data):
            return network.evaluate(
                **arguments_of(data, batch_size), verbose=0, return_dict=True
            )

        return Trainer(
            model,
            self.initial_weights,
            lambda train, seed, step: arguments_of(train, batch_size),
            None,
            epochs,
            evaluate,
            measures=("reestimated",) if again else (),
            mask_offset=mask_offset,
            batch_size=batch_size,
            callbacks=lambda: copy.deepcopy(callbacks),
            fit=fit,
            sites=sites,
            states=[v for v in model.variables if id(v) not in known],
        )

    def _make(self, dropout, activation, rates=None, activations=None):
        """Returns a compiled and built model, and its masking layers."""
        sites = []

        def at_site(rate):
            layer = masking_layer(dropout, rate)
            sites.append(layer)
            if rates is not None:
                rates.append(float(rate))
            return layer

        def at_activation(name):
            if activations is not None:
                activations.append(name)
            if activation is None:
                return keras.layers.Activation(name)
            return activation(name)

        if self.is_model:
            model, sites = self._replaced(at_site)
        else:
            arguments = (at_site, at_activation)[: 1 + self.takes_activation]
            model = self.model(*arguments)
        _check_compiled(model)
        self._build(model)
        return model, sites

    def _replaced(self, at_site):
        """Returns a copy with the layers of a function of a rate, and those.

        Of dropout that is replaced in place, the objects stay what they are;
        their random states are the sites'.
        """
        found = []

        def replacement(layer):
            if layer.rate == 0:
                return None
            found.append(layer)
            return at_site(layer.rate)

        if self.in_place:
            new = self._same(_again(self.model))
            return replace_dropout(new, replacement, in_place=True), found
        new = replace_dropout(self.model, replacement)
        layers = {layer.name: layer for layer in new._flatten_layers()}
        return new, [layers[layer.name] for layer in found]

    def _same(self, new):
        """Returns a model with all that the given one holds, and compiled."""
        self._build(new)
        new.set_weights(self.given)
        layers = (m._flatten_layers() for m in (self.model, new))
        for layer, other in zip(*layers, strict=True):
            other.trainable = layer.trainable
        for layer in _layers(new, keras.layers.Normalization):
            layer.finalize_state()
        compile_like(new, self.model, of_base=True)
        return new

    def _build(self, model):
        if not model.built:
            model(self.batch[0], training=False)


def _clone(model):
    """Returns another model of the same layers, whose weights are drawn."""
    if isinstance(model, (keras.Function, keras.Sequential)):
        with contextlib.suppress(ValueError):
            return keras.models.clone_model(model)
    return _again(model)


def _again(model):
    """Returns another model of the same class and settings."""
    try:
        new = type(model).from_config(model.get_config())
    except Exception as error:
        why = " ".join(str(error).split())
        raise invalid(
            "model",
            "a function build(dropout), or a model whose class can be made "
            f"again from its `get_config` ({type(error).__name__}: {why})",
            model,
        ) from error
    both = (_layers(m, keras.layers.Normalization) for m in (model, new))
    for old, layer in zip(*both, strict=False):
        # Built within a call, it would keep a tensor of that call's graph.
        if old.built and not layer.built:
            layer.build_from_config(old.get_build_config() or {})
    return new


def _layers(model, kind):
    found = model._flatten_layers()
    return [layer for layer in found if isinstance(layer, kind)]


def _copies_reach_all(model):
    """Whether a copy of a model can have another layer at each of its sites."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            replace_dropout(model, lambda layer: None, compile=False)
        except ValueError:
            return False
    said_of_copies = ("`in_place=True` reaches it", "stay behind")
    return not any(
        text in str(warning.message)
        for warning in caught
        for text in said_of_copies
    )


def _is_fresh(model, start):
    """Lists for each weight whether a seed draws it."""
    drawn = {id(v) for v in model.trainable_weights}
    for layer in _layers(model, keras.layers.BatchNormalization):
        if layer.trainable:
            drawn |= {id(v) for v in layer.weights}
    return [start == "fresh" and id(v) in drawn for v in model.weights]


def takes_activation(build):
    """Returns whether a function takes an activation besides, or raises."""
    try:
        parameters = inspect.signature(build).parameters.values()
    except (TypeError, ValueError):
        return False
    needed = [
        p
        for p in parameters
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        and (p.default is p.empty or p.name == "activation")
    ]
    if len(needed) not in (1, 2):
        raise invalid(
            "model",
            "build(dropout) or build(dropout, activation), where dropout(rate) "
            "makes each dropout layer",
            build,
        )
    return len(needed) == 2


def _check_compiled(model):
    if not isinstance(model, keras.Model):
        raise invalid("model", "build to return a keras.Model", model)
    if not model.compiled or model.optimizer is None:
        raise invalid("model", "a compiled model", model)
