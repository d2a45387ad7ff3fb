"""What a line of `runs.jsonl` must hold, and what it held before."""

from keras_dropx.experiments.measures import CALLBACKS

# What the keys of records were called before.
RENAMED = {"panel": "plan", "arm": "method", "arm_details": "method_details"}
# What functions did of which records said only that there was one.
FUNCTIONS = {
    ("expectation-linear", "train_as"): {
        "function": "ExpectationLinear",
        "strength": 1.0,
        "from_logits": True,
    },
    ("concrete-dropout", "train_as"): "linked",
    ("distillation", "finish"): {
        "function": "distilled",
        "shorter": 5,
        "slower": 10,
    },
}
SMOOTHED = {"function": "smoothed", "rate": 0.5}


def _text(value):
    # Neither surrogates nor control characters: a table is to show it.
    return isinstance(value, str) and value.isprintable()


def is_number(value):
    return type(value) is float or _integer(value)


def _integer(value):
    return type(value) is int and abs(value) < 2**63


def _list_of(check):
    return lambda value: isinstance(value, list) and all(map(check, value))


def _by_name(check):
    return lambda value: (
        isinstance(value, dict) and all(map(check, value.values()))
    )


def _points(check):
    return _list_of(
        lambda point: _by_name(check)(point) and _integer(point.get("epoch"))
    )


def _curve(value):
    return _points(is_number)(value) and all(
        point.keys() == value[0].keys() for point in value
    )


def _measure(found):
    # Histograms are in the last point only.
    return is_number(found) or _by_name(
        lambda part: is_number(part) or _list_of(is_number)(part)
    )(found)


def _or_none(check):
    return lambda value: value is None or check(value)


# What a run must hold, and what else is read of it.
REQUIRED = {
    "plan": _text,
    "method": _text,
    "seed": _integer,
    "epochs": lambda value: _integer(value) and value > 0,
}
OPTIONAL = {
    "network": lambda value: _text(value) or isinstance(value, dict),
    "measures": _list_of(_text),
    "method_details": lambda value: isinstance(value, dict),
    "dataset": _text,
    "data_version": _text,
    "train_size": _integer,
    "num_classes": _integer,
    "input_shape": _list_of(is_number),
    "batch_size": is_number,
    "learning_rate": is_number,
    "precision": _text,
    "jit": lambda value: isinstance(value, bool),
    "backend": _text,
    "weights": _or_none(_text),
    "versions": _by_name(_text),
    "step_ms": is_number,
    "train_loss": _list_of(is_number),
    "train_accuracy": is_number,
    "test_accuracy": is_number,
    "test_loss": is_number,
    "reestimated_accuracy": is_number,
    "reestimated_loss": is_number,
    "epochs_to_loss": _or_none(_integer),
    "gradient": _by_name(is_number),
    "saturation": _by_name(is_number),
    "mean_rates": _list_of(is_number),
    "mean_fractions": _list_of(is_number),
    "curve": _curve,
    "measured": _points(_measure),
}
# What says how it was made, where it is of a data set of TFDS.
SETTINGS = (
    *("network", "dataset", "train_size", "num_classes", "input_shape"),
    *("batch_size", "learning_rate", "precision", "jit", "backend"),
)
# What a run has measured in any case.
RESULTS = ("test_accuracy", "test_loss", "train_loss", "step_ms", "versions")
# What the measures leave in a record, too.
MEASURED = {
    "convergence": "epochs_to_loss",
    "curve": "curve",
    "gradient": "gradient",
    "saturation": "saturation",
    "train": "train_accuracy",
    **dict.fromkeys(CALLBACKS, "measured"),
}


def problem_of(record):
    """Returns why a record is no run, or None."""
    for key, check in {**REQUIRED, **OPTIONAL}.items():
        if key in record and not check(record[key]):
            return f"its {key} is none"
    missing = [key for key in REQUIRED if key not in record]
    if "method_details" in record:
        measures = record.get("measures", ())
        needed = [MEASURED[name] for name in measures if name in MEASURED]
        if "data_version" in record:
            needed += SETTINGS
        results = RESULTS
        if _text(record.get("metric")):  # of a user's own model
            results = (f"test_{record['metric']}", *RESULTS[1:])
        missing += [k for k in (*results, *needed) if k not in record]
    if missing:
        return f"it has no {missing[0]}"
    return None


def form_of(value):
    """Returns what is left of a value without its numbers."""
    if isinstance(value, dict):
        return {key: form_of(part) for key, part in value.items()}
    if isinstance(value, list):
        return [form_of(part) for part in value]
    return 0 if value is None or is_number(value) else type(value).__name__


def renamed(record):
    """Returns a record with the names that keys have today."""
    return {RENAMED.get(key, key): value for key, value in record.items()}


def upgraded(record):
    """Returns a record with the names and descriptions of today."""
    details = record.get("method_details")
    if isinstance(details, dict):
        details = dict(details)
        for name in ("train_as", "finish"):
            if isinstance(details.get(name), bool):
                what = FUNCTIONS.get((record["method"], name), True)
                details[name] = what if details[name] else None
        options = details.get("options")
        if isinstance(options, dict) and options.get("hidden") == "smoothed":
            details["options"] = {**options, "hidden": SMOOTHED}
        record["method_details"] = details
    if "measures" in record:
        # Nobody read it, and what it measured is measured in any case.
        kept = [name for name in record["measures"] if name != "rates"]
        record["measures"] = kept
    record.pop("gradient_normalized", None)  # which nobody showed
    return record
