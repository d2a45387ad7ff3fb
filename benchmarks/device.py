"""What the backends call by different names, and the machine."""

import contextlib
import datetime
import importlib.metadata
import os
import platform
import re
from pathlib import Path

import keras

BACKEND = keras.config.backend()
# A compiled function of JAX is XLA's.
MODES = {
    "tensorflow": ("graph", "xla"),
    "jax": ("xla",),
    "torch": ("eager",),
}


def synchronize(result):
    """Waits until the device has computed a result.

    Args:
        result: What a compiled function returned.
    """
    if BACKEND == "jax":
        import jax

        jax.block_until_ready(result)
    elif BACKEND == "torch":
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
    else:
        import tensorflow as tf

        tf.test.experimental.sync_devices()


@contextlib.contextmanager
def dtype_policy(name):
    """Makes a dtype policy that of new layers, for a while."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def free_memory():
    """Returns the bytes that the device has left, infinity if unknown."""
    if kind() == "cpu":
        pages = os.sysconf("SC_AVPHYS_PAGES")
        return pages * os.sysconf("SC_PAGE_SIZE")
    if BACKEND == "jax":
        import jax

        memory = jax.local_devices()[0].memory_stats()
        return memory["bytes_limit"] - memory["bytes_in_use"]
    if BACKEND == "torch":
        import torch

        return torch.cuda.mem_get_info()[0]
    return float("inf")


def kind():
    """Returns "cpu" or "gpu"."""
    return "gpu" if _accelerator() else "cpu"


def describe():
    """Returns the machine, the versions and the date, as JSON takes them."""
    distributions = importlib.metadata.packages_distributions()
    names = {"keras", "keras-dropx", "numpy", BACKEND, f"{BACKEND}lib"}
    installed = {name for group in distributions.values() for name in group}
    return {
        "backend": BACKEND,
        "device": kind(),
        "device_name": _accelerator() or _processor(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "versions": {"python": platform.python_version()}
        | {
            name: importlib.metadata.version(name)
            for name in sorted(names & installed)
        },
        "date": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds"),
    }


def _accelerator():
    if BACKEND == "jax":
        import jax

        device = jax.local_devices()[0]
        return None if device.platform == "cpu" else device.device_kind
    if BACKEND == "torch":
        import torch

        cuda = torch.cuda.is_available()
        return torch.cuda.get_device_name() if cuda else None
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    if not devices:
        return None
    return tf.config.experimental.get_device_details(devices[0])["device_name"]


def _processor():
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.exists() else ""
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor()
