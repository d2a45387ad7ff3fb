"""Trainings of several methods under paired seeds (extra `experiments`).

A training is a method under a seed on a plan:

    plan → data → run → train → measures → records → report

| room | what |
| --- | --- |
| `plan`, `method` | what is trained and compared, checked when it is made |
| `data` | images and tables, their preparation, batches |
| `run`, `progress` | what is missing of a plan: set-up, interruption; bars |
| `build`, `train` | from a method to a compiled model; one run of it |
| `measures`, `probes` | what is measured, and what looks into a model |
| `records` | the runs' file, what makes a run, checkpoints, locks |
| `report`, `statistics` | tables, figures, sentences, pages |
| `comparison`, `comparison_result` | `compare`: a model of one's own |
| `subject`, `named_methods` | that model, and methods by name |
| `user_data`, `fingerprint` | its data, and what stands for all in a record |
| `papers`, `networks`, `baselines` | the papers' tables as plans |
| `search` | KerasTuner |
"""

__all__ = ["Comparison", "Tuning", "compare", "tune"]


def __getattr__(name):
    # What they need is imported when it is used.
    if name in ("Comparison", "compare"):
        from keras_dropx.experiments import comparison

        return getattr(comparison, name)
    if name in ("Tuning", "tune"):
        # First, for it says what is missing.
        import keras_dropx.tuner  # noqa: F401
        from keras_dropx.experiments import tuning

        return getattr(tuning, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
