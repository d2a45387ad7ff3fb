"""The plan of a comparison on a model of the user's own."""

import keras

from keras_dropx.experiments import named_methods
from keras_dropx.experiments.measures import REESTIMATED, describe
from keras_dropx.experiments.named_methods import OTHER_MASKS
from keras_dropx.experiments.plan import Contrast, Method, Plan


def plan_of(subject, functions, metric, better, margin, epochs, batch_size):
    """Returns the `Plan` of what `compare` was asked for.

    `functions` is a dict from the name of a method to a function of a rate.
    """
    rates = tuple(subject.rates)
    tested = f"test_{metric}"
    if margin is not None:
        margin *= describe(tested).scale
    methods = []
    for name, function in functions.items():
        activation = named_methods.ACTIVATION.get(name)
        drops = function is not named_methods.without
        methods.append(
            Method(
                name,
                dropout=function if drops else None,
                rates=rates if drops else None,
                options={"sites": subject.layers(function, activation)},
            )
        )
    floor = None
    if "dropout" in functions:
        methods.append(
            Method(
                OTHER_MASKS,
                dropout=functions["dropout"],
                rates=rates,
                mask_offset=1,
            )
        )
        floor = Contrast(tested, OTHER_MASKS, "dropout", margin)
    contrasts = []
    for name in functions:
        if name in ("none", "gain"):  # Controls alone.
            continue
        control = named_methods.CONTROLS.get(name, "dropout")
        if control in functions:
            contrasts.append(Contrast(tested, name, control, margin))
    rate = subject.plain.optimizer.learning_rate
    rate = float(keras.ops.convert_to_numpy(rate))
    return Plan(
        name="comparison",
        claim="Which dropout helps this model on this data?",
        network=subject,
        methods=tuple(methods),
        contrasts=tuple(contrasts),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=rate if rate > 0 else 1.0,
        floor=floor,
        dataset="own data",
        directions={tested: better, f"{REESTIMATED}{metric}": better},
        preparation=(),
    )
