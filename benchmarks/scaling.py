"""Time and memory against elements, ranks and channels."""

from benchmarks import device, measuring, operations, plan, report

SIZES = tuple(2**exponent for exponent in range(10, 29, 2))
# Of 2**20 elements.
RANKS = (
    (2**20,),
    (2**10, 2**10),
    (2**8, 2**6, 2**6),
    (2**6, 2**5, 2**5, 2**4),
    (2**4, 2**4, 2**4, 2**4, 2**4),
)
CHANNELS = tuple(
    (2**20 // channels, channels) for channels in (1, 3, 17, 64, 2**14)
)
SUBJECTS = ("copy", "keras", "augmented", "augmented_paper", "jumpout")
ROUNDS = 9


def measure(sizes, output):
    """Measures in float32, in graph mode (on JAX under XLA).

    Args:
        sizes: Numbers of elements, rising.
        output: Path of the JSON file.

    Returns:
        Dict, the content of the file.
    """
    mode = device.MODES[device.BACKEND][0]
    groups = [
        plan.op_group(mode, "float32", operations.shape_of(size), SUBJECTS)
        for size in sizes
    ]
    shapes = [
        plan.op_group(mode, "float32", shape, SUBJECTS)
        for shape in (*RANKS, *CHANNELS)
    ]
    result = measuring.measure([*groups, *shapes], output, ROUNDS)
    records = result["measurements"]
    print(f"\n{report.scale_table(records)}\n")
    for name, factor in report.steepest(records).items():
        print(
            f"{name}: from 1M on, the time per element grows by at most "
            f"{factor:.2f} from one size to the next"
        )
    return result
