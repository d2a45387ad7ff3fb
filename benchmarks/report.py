"""Prints tables, compares two runs and draws the plot of scaling."""

from benchmarks import goals, operations

# By how much a median differs from one run of the same code to the next even
# where the quartiles do not overlap: what else the machine does slows memory
# and arithmetic unequally.
NOISE = 0.25


def table(header, rows):
    """Aligns rows of strings, the first column to the left.

    Returns:
        String of lines.
    """
    rows = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def group_table(records):
    """Makes the table of the records of one group.

    Ratios stand as median [lower quartile, upper quartile].
    """
    references = dict.fromkeys(
        name for record in records for name in record["ratios"]
    )
    header = ["", "ms", *(f"/ {name}" for name in references)]
    with_sizes = records[0]["kept_bytes"] is not None
    header += ["kept B/elt"] if with_sizes else []
    rows = []
    for record in records:
        row = [record["subject"], f"{record['seconds'] * 1e3:.3f}"]
        row += [_ratio(record["ratios"].get(name)) for name in references]
        if with_sizes:
            row.append(f"{record['kept_bytes'] / record['size']:.2f}")
        rows.append([*row, f"{record['compile_seconds']:.2f}"])
    return table([*header, "compile s"], rows)


def goals_table(result):
    """Makes the table of the goals that apply to the machine of a run."""
    rows = []
    for goal in goals.that_apply(result["machine"]):
        verdict, worst, record = goals.verdict(goal, result["measurements"])
        over = "" if goal.reference is None else f" / {goal.reference}"
        where = ""
        if record is not None:
            place = record["network"] or _count(record["size"])
            where = f"{record['subject']}, {place}"
        rows.append(
            [
                f"{goal.level}: {goal.what}{over}",
                goal.mode,
                goal.dtype.removeprefix("mixed_"),
                f"{goal.limit:.2f}",
                "" if worst is None else f"{worst:.2f}",
                where,
                verdict,
            ]
        )
    header = ["goal", "mode", "dtype", "limit", "worst", "of", ""]
    return table(header, rows)


def slower(old, new):
    """Finds what became slower by more than the noise, or keeps more.

    A ratio counts as larger if its quartiles lie above the old ones and its
    median by the share `NOISE` above the old median; a subject as slower if
    all its ratios are larger: one alone may be a faster reference.

    Args:
        old: Content of the JSON file of a run.
        new: Content of another.

    Returns:
        Tuple (list of lines, number of subjects compared).
    """
    before = {_key(record): record for record in old["measurements"]}
    lines, compared = [], 0
    for record in new["measurements"]:
        other = before.get(_key(record), {"ratios": {}})
        pairs = {
            name: (other["ratios"][name], ratio)
            for name, ratio in record["ratios"].items()
            if name in other["ratios"]
        }
        if not pairs:
            continue
        compared += 1
        label = "/".join(str(part) for part in _key(record) if part)
        if all(_larger(*pair) for pair in pairs.values()):
            changes = (
                f"{_ratio(was)} -> {_ratio(now)} of {name}"
                for name, (was, now) in pairs.items()
            )
            lines.append(f"{label}: {', '.join(changes)}")
        if (record["kept_bytes"] or 0) > (other["kept_bytes"] or 0):
            lines.append(
                f"{label}: {other['kept_bytes']} -> {record['kept_bytes']} "
                "bytes kept"
            )
    return lines, compared


def _larger(was, now):
    return (
        now["quartiles"][0] > was["quartiles"][1]
        and now["median"] > (1 + NOISE) * was["median"]
    )


def scale_table(records):
    """Makes the table of nanoseconds and bytes kept, per element."""
    names = list(dict.fromkeys(record["subject"] for record in records))
    shapes = list(dict.fromkeys(tuple(r["shape"]) for r in records))
    by_place = {(tuple(r["shape"]), r["subject"]): r for r in records}
    rows = []
    for shape in shapes:
        row = [" x ".join(map(str, shape))]
        for name in names:
            record = by_place.get((shape, name))
            if record is None:
                row.append("-")
                continue
            size = record["size"]
            row.append(
                f"{record['seconds'] / size * 1e9:.3f} "
                f"({record['kept_bytes'] / size:.1f})"
            )
        rows.append(row)
    return table(["ns (B kept) per element", *names], rows)


def plot_scale(result, path):
    """Draws time and memory against elements, and time against the shape.

    Args:
        result: Content of the JSON file of `scale`.
        path: Path of the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    time, memory, shapes = figure.subplots(1, 3)
    records = result["measurements"]
    for name in dict.fromkeys(record["subject"] for record in records):
        own = [record for record in records if record["subject"] == name]
        default = [record for record in own if _is_default(record)]
        sizes = [record["size"] for record in default]
        (line,) = time.loglog(
            sizes, [r["seconds"] for r in default], marker=".", label=name
        )
        memory.loglog(
            sizes, [max(r["kept_bytes"], 1) for r in default], marker="."
        )
        other = [
            record
            for record in own
            if not _is_default(record) and "copy" in record["ratios"]
        ]
        shapes.plot(
            [" x ".join(map(str, record["shape"])) for record in other],
            [record["ratios"]["copy"]["median"] for record in other],
            color=line.get_color(),
            marker=".",
            linestyle="",
        )
    time.set(xlabel="elements", ylabel="seconds, forward and backward")
    memory.set(xlabel="elements", ylabel="bytes kept for backward")
    shapes.set(ylabel="time over that of a copy", ylim=(0, None))
    shapes.tick_params(axis="x", rotation=90)
    time.legend()
    machine = result["machine"]
    figure.suptitle(f"{machine['device_name']}, {machine['backend']}")
    figure.savefig(path, dpi=150)


def steepest(records, smallest=2**20):
    """Finds the largest growth of time beyond that of the elements.

    Args:
        records: Records of `scale`.
        smallest: Number of elements to begin with. Below, the time is that of
            the call, and caches end.

    Returns:
        Dict of subjects and the largest factor between the times per element
        of neighbouring sizes.
    """
    growth = {}
    for name in dict.fromkeys(record["subject"] for record in records):
        times = [
            record["seconds"] / record["size"]
            for record in records
            if record["subject"] == name
            and _is_default(record)
            and record["size"] >= smallest
        ]
        factors = [b / a for a, b in zip(times, times[1:], strict=False)]
        if factors:
            growth[name] = max(factors)
    return growth


def _is_default(record):
    return tuple(record["shape"]) == operations.shape_of(record["size"])


def _key(record):
    place = [record[name] for name in ("level", "network", "mode", "dtype")]
    shape = record["shape"] or [record["size"]]
    return (*place, "x".join(map(str, shape)), record["subject"])


def _ratio(ratio):
    if ratio is None:
        return ""
    lower, upper = ratio["quartiles"]
    digits = 2 if ratio["median"] >= 0.1 else 4
    return (
        f"{ratio['median']:.{digits}f} [{lower:.{digits}f}, {upper:.{digits}f}]"
    )


def _count(size):
    for unit, name in ((2**20, "M"), (2**10, "k")):
        if size % unit == 0:
            return f"{size // unit}{name}"
    return str(size)
