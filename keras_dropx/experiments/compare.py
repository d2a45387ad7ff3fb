"""`dropx compare`: the panels, run and shown."""

from pathlib import Path

from keras_dropx.experiments import datasets, panel_report, session
from keras_dropx.experiments.panels import PANELS
from keras_dropx.experiments.runner import run_panel
from keras_dropx.experiments.runs import Runs


def compare(
    panels,
    dataset,
    seeds,
    epochs,
    train_size,
    output,
    data_dir=None,
    download=False,
    precision="float32",
    jit=False,
):
    """Runs panels of methods on small training sets and prints the tables.

    Args:
        panels: List of names from `PANELS`.
        dataset: TFDS name.
        seeds: Integer, how many; each is one split, one set of initial
            weights, one order of the batches and one stream of masks, shared
            by all arms.
        epochs: Integer, or None for each panel's own.
        train_size: Integer, training images.
        output: Folder for `runs.jsonl` and the figures.
        data_dir: Folder of TFDS, or None for its default.
        download: Whether TFDS may download the data set.
        precision: Name of a Keras dtype policy.
        jit: Whether to compile with XLA.

    Raises:
        DatasetError: If the data set cannot be had or is too small.
    """
    source = session.start(precision, jit)
    splits, data = datasets.splits(dataset, train_size, data_dir, download)
    splits(0)  # A train_size that does not fit fails here.
    source |= data
    panels = [PANELS[name]._replace(jit=jit) for name in panels]
    epochs_of = {panel.name: epochs or panel.epochs for panel in panels}
    console = session.make_console()
    bar = session.progress_bar(console)
    total = sum(seeds * len(p.arms) * epochs_of[p.name] for p in panels)
    with session.locked(output, "command"), bar:
        runs = Runs(output)
        task = bar.add_task("compiling", total=total)
        for panel in panels:

            def progress(arm, seed, done, panel=panel):
                text = f"{panel.name} · {arm} · seed {seed}"
                bar.update(task, advance=done, description=text)

            run_panel(
                panel,
                splits,
                source,
                range(seeds),
                epochs_of[panel.name],
                runs,
                progress,
            )
    for panel in panels:
        settings = {
            **source,
            "panel": panel.name,
            "epochs": epochs_of[panel.name],
        }
        records = [
            record
            for record in runs.records
            if record["seed"] < seeds
            and all(record.get(key) == settings[key] for key in settings)
        ]
        console.print(panel_report.arm_table(panel, records))
        console.print(panel_report.contrast_table(panel, records))
        console.print(panel_report.noise_floor(panel, records))
        path = Path(output) / f"{panel.name}.png"
        panel_report.figure(panel, records).savefig(path, dpi=150)
        console.print(f"Figure: {path}\n")
    console.print(f"Every run: {runs.path}")
