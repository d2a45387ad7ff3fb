"""The private names of other libraries that are used, each with its reason.

A private name can change in any release. One that is not listed here fails
the test; so does one that is listed and no longer used.
"""

import ast
import functools
import importlib
import inspect
import pathlib
import re

import pytest

import keras_dropx

ROOT = pathlib.Path(keras_dropx.__file__).parent
OTHERS = ("keras", "keras_tuner", "tensorflow", "jax", "torch")
# Name: why there is no public way.
ALLOWED = {
    # Keras
    "_compile_config": "compile arguments come serialized only, lambdas not",
    "_exclude_from_weight_decay_pattern": "set by a method, not in a config",
    "_flatten_layers": "a model's layers at any depth; `layers` has one level",
    "_inbound_nodes": "which calls made an output: the graph has no other view",
    "_keras_history": "which layer made a tensor: the graph has no other view",
    "_learning_rate": "the schedule itself; `learning_rate` is its value",
    "_output_shape": "a Lambda gives its argument out serialized only",
    "_trainable_variables": "what gradients belong to where none are named",
    # TensorFlow
    "_registry": "there is no public way to forget a traced gradient",
    "tensorflow.python.framework.ops": "where that registry is",
    # KerasTuner; setup.py bounds its version
    "_brackets": "Hyperband's first bracket, chosen by the trials there are",
    "_compare": "grid search's order, to find on a restart what comes next",
    "_current_bracket": "as `_brackets`, its number",
    "_get_oracle_fname": "where the state is, which is written whole here",
    "_get_size": "how many trials a round of Hyperband has",
    "_get_trial_dir": "where a trial is, which is written whole here",
    "_is_worker": "a worker keeps no state of the oracle",
    "_ordered_ids": "as `_compare`, the trials in their order",
    "_populate_next": "as `_compare`, the trials that are to be followed",
    "_random_state": "Bayesian search draws for a trial as if it were first",
    "_retry_queue": "what runs again after a restart",
    "_save_trial": "overridden: a trial is written whole",
    "_set_project_dir": "a state is read before any process is started",
    "_start_new_bracket": "as `_brackets`, when it is chosen",
    "keras_tuner.src.distribute.oracle_client": (
        "how long a worker waits for its chief has no argument"
    ),
}
# The public ones of named tuples.
PUBLIC = {"_replace", "_asdict", "_fields", "_make"}


def own_names(trees):
    """Returns the private names that the package itself defines."""
    names = set()
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(
                node.ctx, ast.Store
            ):
                names.add(getattr(node, "id", None) or node.attr)
    return names


def uses(tree, own, inherited=frozenset()):
    """Returns the private names of others that a file uses.

    Args:
        tree: AST of the file.
        own: Names that the package defines.
        inherited: Private names of the foreign classes that those of the file
            are derived from: defining one overrides it.
    """
    found = set()
    for node in ast.walk(tree):
        name = None
        if isinstance(node, ast.Attribute):
            name = node.attr
        elif isinstance(node, ast.FunctionDef) and node.name in inherited:
            name = node.name
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", "")
            in ("getattr", "hasattr", "setattr")
            and isinstance(node.args[1], ast.Constant)
        ):
            name = node.args[1].value
        elif isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                modules = [f"{node.module}.{module}" for module in modules]
            found.update(m for m in modules if is_private_module(m))
        if name and re.match(r"_(?!_)", name) and name not in PUBLIC:
            if name not in own or name in inherited:
                found.add(name)
    return found


def is_private_module(name):
    first, *rest = name.split(".")
    if first not in OTHERS:
        return False
    return bool({"src", "python"} & {*rest}) or any(
        part.startswith("_") for part in rest
    )


@functools.cache
def privates_of(cls):
    try:
        source = inspect.getsource(cls)
    except (OSError, TypeError):
        return frozenset()
    found = re.findall(r"self\.(_(?!_)\w+)|def (_(?!_)\w+)", source)
    return frozenset(name for pair in found for name in pair if name)


def inherited_by(path):
    """Returns the private names of the foreign bases of a file's classes."""
    module = ".".join(("keras_dropx", *path.relative_to(ROOT).parts))
    module = module.removesuffix(".py").removesuffix(".__init__")
    try:
        classes = vars(importlib.import_module(module)).values()
    except ImportError:  # Of another backend.
        return frozenset()
    return frozenset(
        name
        for cls in classes
        if isinstance(cls, type) and cls.__module__ == module
        for base in cls.__mro__
        if base.__module__.split(".")[0] in OTHERS
        for name in privates_of(base)
    )


@pytest.fixture(scope="module")
def used():
    """Each private name that is used, and the files that use it."""
    paths = sorted(ROOT.rglob("*.py"))
    trees = {path: ast.parse(path.read_text()) for path in paths}
    own = own_names(trees.values())
    found = {}
    for path, tree in trees.items():
        for name in uses(tree, own, inherited_by(path)):
            place = path.relative_to(ROOT).as_posix()
            found.setdefault(name, []).append(place)
    return found


def test_each_private_name_has_a_reason(used):
    unlisted = {key: used[key] for key in used.keys() - ALLOWED.keys()}
    assert unlisted == {}
    assert ALLOWED.keys() - used.keys() == set()
    assert all(len(reason) > 20 for reason in ALLOWED.values())


@pytest.mark.parametrize(
    "source, names",
    [
        ("layer._losses", {"_losses"}),
        ("self._losses", {"_losses"}),
        ("self._own = self._own_too()\ndef _own_too(): pass", set()),
        ("self._inherited = 1", {"_inherited"}),
        ("class A:\n def _inherited(self): pass", {"_inherited"}),
        ("getattr(x, '_y', None)", {"_y"}),
        ("x.__dict__; x.public; _local; x._replace(a=1)", set()),
        ("import keras.src.layers", {"keras.src.layers"}),
        ("from keras_tuner.src import protos", {"keras_tuner.src.protos"}),
        ("from jax._src import core", {"jax._src.core"}),
        ("from keras import ops\nimport numpy._core", set()),
    ],
)
def test_what_counts_as_private(source, names):
    tree = ast.parse(source)
    assert uses(tree, own_names([tree]), {"_inherited"}) == names
