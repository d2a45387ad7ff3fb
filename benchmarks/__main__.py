"""Command line: `python -m benchmarks run|compare|scale`."""

import argparse
import json
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


def _check_backend(device):
    if device.BACKEND not in device.MODES:
        raise _Refusal(
            "expected KERAS_BACKEND to be tensorflow or jax, "
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
