"""What a plan cannot do cannot be written into one."""

import dataclasses
import functools

import pytest

from keras_dropx.experiments import networks
from keras_dropx.experiments.baselines import ExpectationLinear
from keras_dropx.experiments.method import described
from keras_dropx.experiments.plan import Contrast, Deviation, Method, Plan
from keras_dropx.experiments.records import identity
from keras_dropx.layers import AugmentedDropout, Jumpout

PLAIN = Method("plain")
JUMPOUT = Method("jumpout", lambda: Jumpout(sigma=0.2))
DROPOUT = Method("dropout", AugmentedDropout, rates_of="jumpout")
PLAN = Plan(
    name="test",
    claim="",
    network=networks.mlp,
    methods=(PLAIN, JUMPOUT, DROPOUT),
    contrasts=(Contrast("test_accuracy", "dropout", "plain", 0.5),),
    floor=Contrast("test_accuracy", "jumpout", "plain", 0.5),
    epochs=1,
    batch_size=10,
    learning_rate=0.1,
)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"name": ""}, "`name`"),
        ({"epochs": 0}, "`epochs`"),
        ({"epochs": True}, "`epochs`"),
        ({"batch_size": 1.5}, "`batch_size`"),
        ({"learning_rate": float("nan")}, "`learning_rate`"),
        ({"learning_rate": 0}, "`learning_rate`"),
        ({"momentum": 1.0}, "`momentum`"),
        ({"momentum": -0.1}, "`momentum`"),
        ({"nesterov": 1}, "`nesterov`"),
        ({"jit": "yes"}, "`jit`"),
        ({"weight_decay": -1}, "`weight_decay`"),
        ({"drops": (0.5, 0.25)}, "`drops`"),
        ({"drops": (0.5, 0.5)}, "`drops`"),
        ({"drops": (1,)}, "`drops`"),
        ({"drop": 0}, "`drop`"),
        ({"measures": frozenset({"rates"})}, "`measures`"),
        ({"preparation": (("imagenet",),)}, "`preparation`"),
        ({"preparation": (("scale", 1, 2),)}, "numbers that 'scale' takes"),
        ({"preparation": (("scale", -1),)}, "`maximum`"),
        ({"augmentation": "crop-flip"}, "`augmentation`"),
        ({"streamed": True}, "no preparation and no augmentation"),
        (
            {
                "streamed": True,
                "preparation": (),
                "measures": frozenset({"reestimated"}),
            },
            "images in memory, for reestimated",
        ),
        ({"options": {"scale": 2}}, "unexpected keyword argument 'scale'"),
        ({"options": {"hidden": lambda *_: None}}, "Expected a function of a"),
        ({"methods": (PLAIN, PLAIN)}, "different names.*plain"),
        ({"methods": (PLAIN, DROPOUT, JUMPOUT)}, "before dropout.*jumpout"),
        ({"methods": (PLAIN,)}, "methods of plan test.*dropout - plain"),
        (
            {"methods": (Method("jumpout"), DROPOUT)},
            "Jumpout that draws p before dropout",
        ),
        (
            {
                "methods": (
                    Method("jumpout", lambda: Jumpout(rate=0.2)),
                    DROPOUT,
                )
            },
            "Jumpout that draws p before dropout",
        ),
        (
            {"floor": Contrast("test_accuracy", "remasked", "plain", 0.5)},
            "methods of plan test.*remasked - plain",
        ),
        (
            {"contrasts": (Contrast("epochs_to_loss", "dropout", "plain", 1),)},
            "'convergence', for the contrast in epochs_to_loss",
        ),
        (
            {
                "network": networks.lenet,
                "methods": (
                    PLAIN,
                    JUMPOUT,
                    dataclasses.replace(DROPOUT, exact=True),
                ),
            },
            "does not take what method dropout.*'exact'",
        ),
    ],
)
def test_what_a_plan_cannot_do_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PLAN, **change)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"name": None}, "`name`"),
        ({"dropout": None}, "`dropout`.*for rates_of"),
        ({"dropout": None, "rates_of": None, "exact": True}, "for exact"),
        ({"rates": (0.1,)}, "nothing beside rates"),
        ({"sized": True}, "nothing beside rates_of"),
        ({"mask_offset": -1}, "`mask_offset`"),
        ({"samples": 1.0}, "`samples`"),
        ({"samples": 3, "finish": dataclasses.replace}, "`samples`"),
        ({"learning_rate": -1}, "`learning_rate`"),
        ({"train_as": lambda model: model}, "Expected a function of a module"),
        ({"finish": lambda *_: None}, "Expected a function of a module"),
        ({"options": {"x": object()}}, "Expected a function of a module"),
    ],
)
def test_what_a_method_cannot_do_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(DROPOUT, **change)


def test_a_contrast_and_a_deviation_check_themselves():
    with pytest.raises(ValueError, match="`sign`"):
        Contrast("test_accuracy", "a", "b", 0.5, sign="?")
    with pytest.raises(ValueError, match="`margin`"):
        Contrast("test_accuracy", "a", "b", -1)
    with pytest.raises(ValueError, match="one \\*, first"):
        Contrast("test_accuracy", "a", "b *", 1)
    with pytest.raises(ValueError, match="`why`"):
        Deviation("what", "printed", "used", "")


def test_a_plan_and_its_parts_cannot_be_changed():
    for part, name in ((PLAN, "epochs"), (PLAIN, "name")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, name, 3)


def test_only_some_methods_keep_their_contrasts():
    assert PLAN.only(PLAN.methods) == PLAN
    few = PLAN.only([PLAIN, JUMPOUT])
    assert few.contrasts == () and few.floor == PLAN.floor
    few = PLAN.only([JUMPOUT, DROPOUT])
    assert few.contrasts == () and few.floor is None


def some_function(model, strength):
    return model


@dataclasses.dataclass(frozen=True)
class SomeObject:
    strength: float

    def __call__(self, model):
        return model


def linear(strength):
    return functools.partial(
        ExpectationLinear, strength=strength, from_logits=True
    )


@pytest.mark.parametrize("name", ["train_as", "finish", "option", "network"])
@pytest.mark.parametrize(
    "make",
    [
        linear,
        SomeObject,
        lambda strength: functools.partial(some_function, strength=strength),
        lambda strength: functools.partial(some_function, 0, strength),
    ],
)
def test_two_strengths_are_two_runs(name, make):
    def settings(strength):
        function = make(strength)
        plan, method = PLAN, PLAIN
        if name == "network":
            # Checked by what the plan asks of it.
            network = functools.partial(
                networks.mlp, units=(int(10 * strength),)
            )
            plan = dataclasses.replace(plan, network=network)
        elif name == "option":
            method = Method("plain", options={"hidden": function})
        else:
            method = Method("plain", **{name: function})
        return identity(plan, method, 0, 1, {})

    assert settings(1.0) == settings(1.0) != settings(0.5)


def test_a_description_says_what_is_done():
    assert described(linear(0.5)) == {
        "function": "ExpectationLinear",
        "strength": 0.5,
        "from_logits": True,
    }
    assert described(SomeObject(2)) == {"class": "SomeObject", "strength": 2}
    assert described({"x": (1, None, some_function)}) == {
        "x": [1, None, "some_function"]
    }
    layer = described(AugmentedDropout(0.3, name="x", seed=3))
    assert layer == described(AugmentedDropout(0.3))
    assert layer["class"] == "AugmentedDropout" and layer["rate"] == 0.3

    def inner(model):
        return model

    for unclear in (inner, SomeObject(1).__call__, lambda: None):
        with pytest.raises(ValueError, match="can say what it does"):
            described(unclear)
