"""`dropx compare`."""

import dataclasses
import io
from pathlib import Path


def run(options):
    if options.model is None:
        _run_panels(options)
    else:
        _run_own(options)


def _run_own(options):
    from keras_dropx.commands.own import Own, show
    from keras_dropx.experiments import compare
    from keras_dropx.experiments import run as engine

    engine.start(options.precision)
    own = Own(options)
    with own.in_one_line():
        result = compare(
            own.model,
            own.train,
            own.test,
            options.methods,
            seeds=options.seeds,
            epochs=options.epochs,
            batch_size=options.batch_size,
            metric=options.metric,
            margin=options.margin,
            start=options.start,
            output=options.output,
        )
    show(result, result, options, options.output)


def _run_panels(options):
    from keras_dropx.experiments import run as engine
    from keras_dropx.experiments.data import open_data
    from keras_dropx.experiments.files import check_free
    from keras_dropx.experiments.papers.ours import PLANS
    from keras_dropx.experiments.progress import make_console
    from keras_dropx.experiments.records import write_atomically
    from keras_dropx.experiments.report.figures import figure
    from keras_dropx.experiments.report.show import show

    check_free(options.output, [f"{name}.png" for name in options.panels])
    shared = engine.start(options.precision, options.jit)
    plans = [
        dataclasses.replace(
            PLANS[name],
            jit=options.jit,
            epochs=options.epochs or PLANS[name].epochs,
            dataset=options.dataset,
        )
        for name in options.panels
    ]
    # The three prepare their images alike.
    data, source = open_data(
        plans[0],
        options.train_size,
        options.data_dir,
        options.download,
        options.source,
    )
    opened = [(data, source | shared)] * len(plans)
    seeds, console = range(options.seeds), make_console()
    path, made = engine.run_all(
        plans, opened, seeds, options.output, console, "compiling"
    )
    for plan, found in zip(plans, made, strict=True):
        show(plan, found, console)
        place = Path(options.output) / f"{plan.name}.png"
        image = io.BytesIO()
        figure(None, plan, found).savefig(image, dpi=150)
        write_atomically(place, image.getvalue())
        console.print(f"Figure: {place}\n", soft_wrap=True)
    console.print(f"Every run: {path}", soft_wrap=True)
