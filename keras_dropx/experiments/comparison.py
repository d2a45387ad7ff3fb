"""`compare`: does a method help this model on this data?"""

import contextlib
import functools

import keras

from keras_dropx.errors import check_choice, check_positive
from keras_dropx.experiments import named_methods
from keras_dropx.experiments.comparison_result import Comparison
from keras_dropx.experiments.data.datasets import Subsets
from keras_dropx.experiments.files import locked
from keras_dropx.experiments.fingerprint import said
from keras_dropx.experiments.method import check_count
from keras_dropx.experiments.own_plan import plan_of
from keras_dropx.experiments.progress import (
    epochs_shown,
    make_console,
    sayer,
)
from keras_dropx.experiments.records import TRAINING, Records, select
from keras_dropx.experiments.run import no_talk_of_retracing, run
from keras_dropx.experiments.subject import Subject
from keras_dropx.experiments.user_data import (
    call_of,
    check_data,
    check_fit,
    first_batch,
    is_arrays,
    is_endless,
    is_shown,
    looks_of,
    metric_of,
    size_of,
)

# What a plan has and a model of the user's own does by itself: all but size of
# batches and learning rate.
_UNUSED = dict.fromkeys(TRAINING[2:])


@no_talk_of_retracing()
def compare(
    model,
    train,
    test,
    methods=None,
    *,
    seeds=5,
    epochs=10,
    batch_size=32,
    metric=None,
    margin=None,
    start="fresh",
    fit=None,
    output=None,
    verbose="auto",
):
    """Compares dropout methods on a model and data of one's own.

    Each method trains under the same seeds, and a seed fixes the initial
    weights, the order of the batches and the forward masks for all of them.
    One run is what public Keras does: `keras.utils.set_random_seed(seed)`;
    the initial weights are those of the model without dropout, built (or
    cloned) then; the optimizer starts anew; the seed generators of the
    dropout sites start at `[word, 0]`, where the word of site k is
    `np.random.SeedSequence((seed, k, 0)).generate_state(1)[0]` (with 1 in
    place of 0 for the other masks), and the j-th of all others with
    `(seed, j, 2)`; `keras.utils.set_random_seed(seed)`; `fit`; `evaluate`. (A
    `test_on_batch` has built loss and metrics before: on JAX and torch a first
    `fit` that must do so takes another order of the batches.)

    The methods by name, at a site of rate p:

    | name | layer |
    | --- | --- |
    | `"none"` | no dropout |
    | `"dropout"` | `AugmentedDropout(p)`, standard dropout |
    | `"augmented"` | `AugmentedDropout(p, 1e-4)` |
    | `"forward"`, `"backward"` | `ForwardDropout(p)`, `BackwardDropout(p)` |
    | `"jumpout"` | `Jumpout`, its mean p that of the site, `rescale="mean"` |
    | `"batchnorm"` | `AugmentedDropout(p, rescale="batchnorm")` |
    | `"gaaf"`, `"gain"` | no dropout; `GAAF` activations, its matched control |

    Dropout always runs, and once more under other masks: the noise floor.
    Fixed contrasts: dropout, backward − none; all others − dropout; gaaf −
    gain; a method of your own − dropout. What a method is contrasted with
    runs with it.

    Args:
        model: Function `build(dropout)` that returns a compiled
            `keras.Model`, where `dropout(rate)` returns the layer of one site;
            or `build(dropout, activation)`, where `activation("relu")`
            returns the activation of one site. Or a compiled `keras.Model`:
            its dropout layers are the sites. It is not changed.
        train: `(x, y)` or `(x, y, sample_weight)`, x any structure of arrays;
            a `tf.data.Dataset` of batches; or a `keras.utils.PyDataset`.
        test: Likewise.
        methods: List of names, or a dict from a name to a function of a rate
            that returns a layer without weights. None: the names that fit.
        seeds: Integer, how many; a list of integers; or a tuple
            `(first, most)`: looks after `first` seeds, then twice as many,
            up to `most`, and stops where all contrasts are resolved. The
            level of 5 % is split evenly over the looks.
        epochs: Positive integer.
        batch_size: Positive integer, in samples; for arrays.
        metric: "loss", the name of a compiled metric, or a pair of it and
            "max" or "min". None: the one compiled metric, if there is one
            whose name tells its direction, else "loss".
        margin: Positive float, the smallest difference that matters, in the
            metric's unit (0.005 of accuracy is half a point). None: no
            verdict says "equal".
        start: "fresh" draws initial weights for each seed; of a compiled
            model only what is trained, and the statistics of its trained
            batch normalisation. "given" starts from the model's weights.
        fit: Dict, other arguments of `model.fit`. Callbacks are copied for
            each run.
        output: Folder for the records, from which an interrupted comparison
            goes on. Of data that come in batches only the form is compared.
        verbose: 0, 1 or "auto": progress, where there is a terminal.

    Returns:
        `Comparison`; of what there is, if you interrupt it after two seeds.

    Raises:
        ValueError: If an argument is out of its range, the model is not
            compiled, has no site or other parameters with another method,
            or the metric is not there; before anything is trained.
    """
    check_data("train", train)
    check_data("test", test)
    check_count("epochs", epochs)
    check_count("batch_size", batch_size)
    check_choice("start", start, ("fresh", "given"))
    shown = is_shown(verbose)
    if margin is not None:
        check_positive("margin", margin)
    looks = looks_of(seeds)
    fit, callbacks = check_fit(fit, train)
    batch = first_batch(train, batch_size)
    subject = Subject(model, start, batch)
    functions = named_methods.chosen(methods, subject)
    metric, better = metric_of(metric, subject.plain, batch)
    plan = plan_of(
        subject, functions, metric, better, margin, epochs, batch_size
    )
    source = {
        **_UNUSED,
        "metric": metric,
        "data": [said(train), said(test)],
        "fit": said({**fit, "callbacks": callbacks}),
        "precision": keras.config.dtype_policy().name,
        "backend": keras.config.backend(),
    }
    if is_arrays(train):
        source["train_size"] = size_of(train)

    @functools.cache  # One compiled model a method, for all looks.
    def trainer(name, mask_offset):
        return subject.trainer(
            name,
            functions.get(name, named_methods.DROPOUT["dropout"]),
            mask_offset,
            epochs,
            batch_size,
            fit,
            callbacks,
            reestimates=not is_endless(train),
        )

    for method in plan.methods:  # Whether its model can be made.
        trainer(method.name, method.mask_offset)
    call = call_of(
        compare,
        (model, "train", "test"),
        methods=methods,
        seeds=seeds,
        epochs=epochs,
        batch_size=batch_size,
        metric=(metric, better),
        margin=margin,
        start=start,
        fit={**fit, "callbacks": callbacks},
    )
    result = functools.partial(
        Comparison, plan, metric, better, margin, len(looks), call
    )

    records = Memory()

    def found():
        return select(records.records, plan, epochs, source, looks[-1])

    console = make_console()
    try:
        with contextlib.ExitStack() as stack:
            if output is not None:
                lock = locked(output, "comparison", "Wait for it")
                stack.enter_context(lock)
                records = Records(output)
            total = len(plan.methods) * len(looks[-1]) * epochs
            bar = epochs_shown(console, total, "building", disable=not shown)
            progress = stack.enter_context(bar)
            for look in looks:
                run(
                    plan,
                    lambda seed: Subsets(train, None, test),
                    source,
                    look,
                    records,
                    progress(plan),
                    say=sayer(console) if shown else lambda text: None,
                    make_trainer=lambda plan, method, *rest: trainer(
                        method.name, method.mask_offset
                    ),
                )
                seen = result([r for r in found() if r["seed"] in look])
                if seen.resolved or look is looks[-1]:
                    return seen
    except KeyboardInterrupt:
        seen = found()
        done = set(looks[-1])
        for method in plan.methods:
            done &= {r["seed"] for r in seen if r["method"] == method.name}
        if len(done) < 2:
            raise
        return result([record for record in seen if record["seed"] in done])


class Memory(Records):
    """Records of a comparison without a folder."""

    def __init__(self):
        self.path = "memory"
        self.records, self._by_name = [], {}

    def alone(self, settings):
        return contextlib.nullcontext(True)

    def add(self, record):
        self._keep(record)
