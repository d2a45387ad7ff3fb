"""Command line: `python -m benchmarks COMMAND`."""

import argparse
import importlib.util
import json
import os
import sys
from pathlib import Path


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage around it."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (--help shows the usage)\n")


def main(arguments=None):
    """Runs the command line and returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.function(options)
    except _Refusal as refusal:
        print(f"benchmarks: {refusal}", file=sys.stderr)
        return 2


class _Refusal(Exception):
    pass


def _parser():
    parser = _Parser(prog="benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run", help="measure, print the tables and write a JSON file"
    )
    preset = run.add_mutually_exclusive_group()
    preset.add_argument(
        "--quick",
        action="store_true",
        help="only what the goals need, in two minutes on two cores",
    )
    preset.add_argument(
        "--gpu",
        action="store_true",
        help="large sizes, ResNet-20 and WRN-16-8, and the generators",
    )
    run.add_argument(
        "--level",
        choices=("op", "train", "generators", "all"),
        default="all",
        help="what to measure (default: all; generators: with --gpu)",
    )
    run.add_argument(
        "--sizes",
        type=_counts,
        metavar="N,N",
        help="numbers of elements, such as 64k,1M",
    )
    run.add_argument(
        "--batches",
        type=_counts,
        metavar="N,N",
        help="batch sizes of the training steps",
    )
    run.add_argument(
        "--only",
        default="",
        metavar="SUBSTRING",
        help="only what has this in level/network/mode/dtype/size/subject",
    )
    run.add_argument(
        "--rounds",
        type=_count,
        metavar="N",
        help="how often each is timed (default: 63, training steps: 21)",
    )
    run.add_argument(
        "--output",
        default="results/benchmarks.json",
        metavar="FILE",
        help="JSON file (default: results/benchmarks.json)",
    )
    run.set_defaults(function=_run)

    compare = commands.add_parser(
        "compare",
        help="list what became slower; exit code 1 if something did",
    )
    compare.add_argument("old", metavar="OLD.json")
    compare.add_argument("new", metavar="NEW.json")
    compare.set_defaults(function=_compare)

    scale = commands.add_parser(
        "scale", help="time and memory against elements, ranks and channels"
    )
    scale.add_argument(
        "--sizes",
        type=_counts,
        metavar="N,N",
        help="numbers of elements (default: 1k,4k,…,256M)",
    )
    scale.add_argument(
        "--output",
        default="results/scale.json",
        metavar="FILE",
        help="JSON file; the picture lies beside it "
        "(default: results/scale.json)",
    )
    scale.set_defaults(function=_scale)

    comparisons = commands.add_parser(
        "comparisons",
        help="false alarms, power and cost of `experiments.compare`",
    )
    comparisons.add_argument(
        "part",
        choices=("simulated", "real", "cost"),
        help="simulated: false alarms, power, seeds needed; real: false alarms "
        "of a method with itself, goes on from its file; cost: over plain fits",
    )
    comparisons.add_argument(
        "--count",
        type=_count,
        metavar="N",
        help="comparisons (default: 2000 simulated, 100 real of each kind) or "
        "rounds (default: 5)",
    )
    comparisons.add_argument(
        "--output",
        metavar="FILE",
        help="JSON file (default: results/comparisons-PART.json)",
    )
    comparisons.set_defaults(function=_comparisons)

    gpu_plan = commands.add_parser(
        "gpu-plan",
        help="count the bytes that XLA's programs for a GPU move, without one; "
        "exit code 1 if a budget is exceeded",
    )
    gpu_plan.add_argument(
        "--target",
        metavar="FILE",
        help="description of the GPU (default: an H100)",
    )
    gpu_plan.add_argument(
        "--only",
        default="",
        metavar="SUBSTRING",
        help="only what has this in its name",
    )
    gpu_plan.add_argument(
        "--long", action="store_true", help="ResNet-20's steps too"
    )
    gpu_plan.set_defaults(function=_gpu_plan)
    return parser


def _run(options):
    from benchmarks import device, measuring, plan, report

    _check_backend(device)
    levels = plan.LEVELS if options.level == "all" else (options.level,)
    if not options.gpu and options.level == "all":
        levels = ("op", "train")
    make = plan.full
    if options.quick:
        make = plan.quick
    elif options.gpu:
        make = plan.gpu
    groups = plan.select(
        make(levels, options.sizes, options.batches), options.only
    )
    if not groups:
        raise _Refusal("nothing to measure: --only and --level leave nothing")
    result = measuring.measure(groups, options.output, options.rounds)
    print(f"\n{report.goals_table(result)}\n\nwrote {options.output}")
    return 0


def _compare(options):
    from benchmarks import report

    lines, compared = report.slower(_read(options.old), _read(options.new))
    if not compared:
        raise _Refusal("the two files have no measurement in common")
    print("\n".join(lines) or f"none of {compared} subjects became slower")
    return 1 if lines else 0


def _scale(options):
    from benchmarks import device, report, scaling

    _check_backend(device)
    sizes = options.sizes or scaling.SIZES
    result = scaling.measure(sizes, options.output)
    picture = Path(options.output).with_suffix(".png")
    report.plot_scale(result, picture)
    print(f"\nwrote {options.output} and {picture}")
    return 0


def _comparisons(options):
    from benchmarks import comparison_goals

    output = Path(options.output or f"results/comparisons-{options.part}.json")
    if options.part == "real":
        from benchmarks import real_comparisons

        result = real_comparisons.measure(output, options.count or 100)
    else:
        if options.part == "simulated":
            from benchmarks import simulated_comparisons

            result = simulated_comparisons.measure(options.count or 2000)
        else:
            from benchmarks import comparison_cost

            result = comparison_cost.measure(options.count or 5)
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{comparison_goals.table(result)}\n\nwrote {output}")
    return 0


def _gpu_plan(options):
    # The plugin has a compiler, but the device of this process is the CPU.
    os.environ["JAX_PLATFORMS"] = "cpu"
    if os.environ.setdefault("KERAS_BACKEND", "jax") != "jax":
        raise _Refusal(
            "gpu-plan: expected KERAS_BACKEND to be jax, "
            f"received {os.environ['KERAS_BACKEND']!r}"
        )
    missing = {"jax", "jax_plugins"} - set(
        filter(importlib.util.find_spec, ("jax", "jax_plugins"))
    )
    if missing:
        raise _Refusal('gpu-plan needs `pip install "keras-dropx[gpu-plan]"`')
    from benchmarks import gpu_plan

    try:
        programs, bad = gpu_plan.plan(
            options.target or gpu_plan.TARGET, options.only, options.long
        )
    except gpu_plan.TargetError as error:
        raise _Refusal(str(error)) from None
    if not programs:
        raise _Refusal("nothing to compile: --only leaves nothing")
    return 1 if bad else 0


def _check_backend(device):
    if device.BACKEND not in device.MODES:
        raise _Refusal(
            "expected KERAS_BACKEND to be tensorflow, jax or torch, "
            f"received {device.BACKEND!r}"
        )


def _read(path):
    from benchmarks import measuring

    try:
        result = json.loads(Path(path).read_text())
    except OSError as error:
        raise _Refusal(f"{path}: {error.strerror}") from None
    except ValueError:
        raise _Refusal(f"{path}: not a JSON file") from None
    schema = result.get("schema") if isinstance(result, dict) else None
    if schema != measuring.SCHEMA:
        raise _Refusal(
            f"{path}: expected schema {measuring.SCHEMA}, received {schema}"
        )
    return result


def _counts(text):
    return tuple(map(_count, text.split(",")))


def _count(text):
    units = {"k": 2**10, "M": 2**20}
    digits = text.rstrip("kM")
    unit = text[len(digits) :]
    if not digits.isdecimal() or int(digits) < 1 or unit not in ("", *units):
        raise argparse.ArgumentTypeError(
            f"expected positive integers such as 500, 64k or 1M, "
            f"received {text!r}"
        )
    return int(digits) * units.get(unit, 1)


if __name__ == "__main__":
    sys.exit(main())
