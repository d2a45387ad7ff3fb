import pytest

from benchmarks import goals
from benchmarks.goals import Goal

GOAL = Goal("what", "op", ("a", "b"), "keras", "graph", 0.75)
CPU = {"backend": "tensorflow", "device": "cpu"}


def record(subject="a", median=0.5, **fields):
    return {
        "level": "op",
        "network": None,
        "subject": subject,
        "mode": "graph",
        "dtype": "float32",
        "size": 2**20,
        "kept_bytes": 2**20,
        "ratios": {"keras": {"median": median, "quartiles": [0.4, 0.6]}},
        **fields,
    }


def test_a_goal_is_judged_by_the_worst():
    records = [record("a", 0.6), record("b", 0.8), record("c", 5.0)]
    assert goals.verdict(GOAL, records) == ("missed", 0.8, records[1])
    assert goals.verdict(GOAL, records[:1]) == ("held", 0.6, records[0])


@pytest.mark.parametrize(
    "median, verdict", [(0.754, "held"), (0.756, "missed")]
)
def test_what_is_printed_as_the_limit_holds_it(median, verdict):
    assert goals.verdict(GOAL, [record(median=median)])[0] == verdict


@pytest.mark.parametrize(
    "fields",
    [
        {"level": "train", "network": "mlp"},
        {"mode": "xla"},
        {"dtype": "mixed_bfloat16"},
        {"size": 2**10},
        {"ratios": {"copy": {"median": 2.0}}},
    ],
)
def test_other_measurements_say_nothing(fields):
    assert goals.verdict(GOAL, [record(**fields)])[0] == "not measured"


def test_a_goal_without_reference_is_about_memory():
    goal = GOAL._replace(reference=None, limit=1.0)
    assert goals.verdict(goal, [record()])[:2] == ("held", 1.0)
    greedy = record(kept_bytes=2**21)
    assert goals.verdict(goal, [greedy])[:2] == ("missed", 2.0)


def test_a_goal_for_some_networks_leaves_the_others_out():
    goal = GOAL._replace(level="train", networks=("mlp",))
    records = [
        record(level="train", network=network, median=median)
        for network, median in (("mlp", 0.5), ("convnet", 2.0))
    ]
    assert goals.verdict(goal, records)[:2] == ("held", 0.5)


def test_goals_of_another_machine_do_not_apply():
    on_cpu = goals.that_apply(CPU)
    on_gpu = goals.that_apply({**CPU, "device": "gpu"})
    with_jax = goals.that_apply({**CPU, "backend": "jax"})
    assert on_cpu and on_gpu and with_jax
    assert not set(on_cpu) & set(on_gpu)
    assert all(goal.mode == "xla" for goal in with_jax)
