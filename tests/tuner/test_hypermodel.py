import functools

import keras
import keras_tuner
import numpy as np
import pytest
from keras import layers

from keras_dropx.layers import AugmentedDropout
from keras_dropx.tuner import DropoutHyperModel
from keras_dropx.tuner.memory import forgotten_gradients

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 6)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")


def build(dropout):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(16, activation="relu"),
            dropout(),
            layers.Dense(16, activation="relu"),
            dropout(),
            layers.Dense(1),
        ]
    )
    model.compile(
        keras.optimizers.SGD(0.05),
        keras.losses.BinaryCrossentropy(from_logits=True),
    )
    return model


def search(folder, hypermodel, kind=keras_tuner.RandomSearch, **kwargs):
    """Runs a search; returns its trials as (values, score)."""
    tuner = kind(
        hypermodel,
        objective="val_loss",
        seed=7,
        directory=folder,
        **kwargs,
    )
    tuner.search(
        X, Y, validation_data=(X, Y), epochs=3, batch_size=16, verbose=0
    )
    trials = tuner.oracle.trials
    return [
        (trial.hyperparameters.values, trial.score)
        for _, trial in sorted(trials.items())
    ]


@pytest.mark.full
@pytest.mark.parametrize("method, executions", [("any", 2), ("jumpout", 1)])
def test_two_searches_of_one_seed_propose_and_measure_the_same(
    tmp_path, method, executions
):
    runs = []
    for number in range(2):
        keras.utils.set_random_seed(number)  # what the user did before
        runs.append(
            search(
                tmp_path / str(number),
                DropoutHyperModel(build, method=method),
                max_trials=3,
                executions_per_trial=executions,
            )
        )
    assert runs[0] == runs[1]
    scores = [score for _, score in runs[0]]
    assert len(set(scores)) == 3


@pytest.mark.full
def test_a_hypermodel_used_twice_measures_the_same(tmp_path):
    hypermodel = DropoutHyperModel(build, "dropout")
    runs = [
        search(tmp_path / name, hypermodel, max_trials=2) for name in ("a", "b")
    ]
    assert runs[0] == runs[1]


@pytest.mark.full
def test_another_seed_measures_something_else(tmp_path):
    runs = [
        search(
            tmp_path / str(seed),
            DropoutHyperModel(build, "dropout", seed=seed),
            max_trials=1,
        )
        for seed in (0, 1)
    ]
    assert runs[0][0][0] == runs[1][0][0]
    assert runs[0][0][1] != runs[1][0][1]


class Recorded(DropoutHyperModel):
    """Keeps the first weights and the seeds of each training."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.starts = []
        self.losses = []

    def fit(self, hp, model, *args, **kwargs):
        class Watch(keras.callbacks.Callback):
            def on_train_begin(watch, logs=None):
                self.starts.append([v.numpy() for v in model.variables])

        callbacks = [*kwargs.pop("callbacks", ()), Watch()]
        history = super().fit(hp, model, *args, callbacks=callbacks, **kwargs)
        self.losses.append(history.history["val_loss"])
        return history


@pytest.mark.full
def test_executions_and_trials_start_from_their_own_weights_and_masks(tmp_path):
    hypermodel = Recorded(build, "dropout")
    search(tmp_path, hypermodel, max_trials=2, executions_per_trial=2)
    starts = hypermodel.starts
    assert len(starts) == 4
    for part in (0, 2):  # the first kernel, the state of the first mask
        seen = {start[part].tobytes() for start in starts}
        assert len(seen) == 4


@pytest.mark.full
def test_hyperband_goes_on_from_the_weights_of_the_earlier_trial(tmp_path):
    hypermodel = Recorded(build, "dropout")
    tuner = keras_tuner.Hyperband(
        hypermodel,
        objective="val_loss",
        max_epochs=2,
        factor=2,
        hyperband_iterations=2,
        seed=7,
        directory=tmp_path,
    )
    tuner.search(X, Y, validation_data=(X, Y), verbose=0)
    trials = [tuner.oracle.trials[key] for key in tuner.oracle.start_order]
    later = 0
    for trial, start in zip(trials, hypermodel.starts, strict=True):
        past = trial.hyperparameters.values.get("tuner/trial_id")
        if past is not None:
            model = hypermodel.build(trial.hyperparameters)
            model.load_weights(tuner._get_checkpoint_fname(past))
            np.testing.assert_array_equal(start[0], model.get_weights()[0])
            later += 1
    assert later == 2


def layers_of(hypermodel, values=()):
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    model = hypermodel.build(hp)
    return hp, [x for x in model.layers if isinstance(x, AugmentedDropout)]


def test_sites_share_their_hyperparameters():
    hp, sites = layers_of(
        DropoutHyperModel(build, "augmented"), {"dropout_rate": 0.4}
    )
    assert set(hp.values) == {"dropout_rate", "dropout_backward_rate"}
    assert [site.rate for site in sites] == [0.4, 0.4]
    assert sites[0] is not sites[1]


def test_per_site_separates_them():
    hp, sites = layers_of(
        DropoutHyperModel(build, "dropout", name="d", per_site=True),
        {"d_1_rate": 0.1, "d_2_rate": 0.4},
    )
    assert set(hp.values) == {"d_1_rate", "d_2_rate"}
    assert [site.rate for site in sites] == [0.1, 0.4]


def test_a_loss_that_is_not_finite_fails_the_trial_with_the_reason(tmp_path):
    def diverging(dropout):
        model = build(dropout)
        model.compile(keras.optimizers.SGD(1e30), "mse")
        return model

    tuner = keras_tuner.RandomSearch(
        DropoutHyperModel(diverging, "dropout"),
        objective="val_loss",
        max_trials=2,
        max_consecutive_failed_trials=5,
        directory=tmp_path,
    )
    tuner.search(X, Y, validation_data=(X, Y), epochs=3, verbose=0)
    for trial in tuner.oracle.trials.values():
        assert trial.status == "FAILED"
        assert "after the last epoch" in trial.message
        assert "loss is" in trial.message


SIGNATURES = {
    "hp-first": lambda hp, dropout: site(dropout, hp=hp),
    "hp-last": lambda dropout, hp=None: site(dropout, hp=hp),
    "hp-by-name": lambda dropout, *, hp: site(dropout, hp=hp),
    "all": lambda dropout, activation, hp: site(dropout, activation, hp),
    "other-names": lambda masks, slope: site(masks, slope),
    "positional": lambda hp, d, a, /: site(d, a, hp),
    "own-default": lambda dropout, width=3: site(dropout, hp=width),
    "any-more": lambda dropout, *args, **kwargs: (
        site(dropout) if not args and not kwargs else None
    ),
    "partial": functools.partial(
        lambda dropout, units, activation: site(dropout, activation), units=3
    ),
}


def site(dropout, activation=None, hp=3):
    """A model of two sites with rates, one of them an unusable one."""
    if isinstance(hp, keras_tuner.HyperParameters):
        hp = hp.Int("width", 3, 5)
    slopes = [activation("tanh")] if activation else []
    return keras.Sequential(
        [keras.Input((6,)), layers.Dense(hp), *slopes, dropout(0.9)]
        + [layers.Dense(2, activation=activation and activation("relu"))]
        + [dropout(rate="any")]
    )


@pytest.mark.parametrize("signature", SIGNATURES)
def test_build_is_given_what_it_asks_for(signature):
    hp = keras_tuner.HyperParameters()
    hp.values = {"dropout_rate": 0.4}
    model = DropoutHyperModel(SIGNATURES[signature], "dropout").build(hp)
    rates = [x.rate for x in model.layers if hasattr(x, "rate")]
    assert rates == [0.4, 0.4]
    asks_for_hp = "hp" in signature or signature in ("all", "positional")
    assert ("width" in hp.values) == asks_for_hp
    asks = signature in ("all", "other-names", "positional")
    assert len(model.layers) == (5 if asks or signature == "partial" else 4)


@pytest.mark.parametrize(
    "build",
    [
        lambda: None,
        lambda hp: None,
        lambda dropout, activation, third: None,
        lambda *args: None,
        layers.Dense(2),
        dict,
        "build",
    ],
)
def test_a_build_of_other_arguments_is_refused_at_once(build):
    with pytest.raises(ValueError, match="argument `build`. Expected a func"):
        DropoutHyperModel(build)


def test_no_dropout_is_a_choice_among_the_methods():
    hp, sites = layers_of(DropoutHyperModel(build), {"dropout_method": "none"})
    assert set(hp.values) == {"dropout_method"}
    assert [site.rate for site in sites] == [0.0, 0.0]
    (choice,) = [x for x in hp.space if x.name == "dropout_method"]
    assert "none" in choice.values and choice.default == "dropout"


@pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="TensorFlow's registry"
)
def test_the_gradients_of_a_search_can_be_forgotten_and_only_those():
    from tensorflow.python.framework import ops

    def traced():
        registry = ops.gradient_registry._registry
        return {x for x in registry if x.startswith("CustomGradient-")}

    def train():
        model = build(lambda: AugmentedDropout(0.5, 0.1))
        model.fit(X, Y, verbose=0)
        return model

    kept = train()
    before = traced()
    with forgotten_gradients():
        train()
        # The search's own models need theirs to the end.
        assert not before - traced()
    assert traced() == before
    kept.fit(X, Y, verbose=0)
    with pytest.raises(ZeroDivisionError), forgotten_gradients():
        train()
        raise ZeroDivisionError
    assert traced() == before


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"method": "dropot"}, "argument `method`. Expected one of 'any'"),
        ({"build": 3}, "argument `build`"),
        ({"per_site": 1}, "argument `per_site`"),
        ({"rate": (0.5, 0.2)}, "argument `rate`"),
        ({"sigma": (0.2, 0.2), "method": "jumpout"}, "argument `sigma`"),
        ({"backward_rate": (0.1, 1.0)}, "argument `backward_rate`"),
        (
            {"method": "jumpout", "methods": ("dropout",)},
            "argument `methods`. Expected nothing unless method='any'",
        ),
        ({"methods": ("gaaf",)}, "argument `methods`"),
    ],
)
def test_bad_arguments_are_refused_at_once(kwargs, message):
    with pytest.raises(ValueError, match=message):
        DropoutHyperModel(**{"build": build, **kwargs})
