import itertools

from keras_dropx.experiments import runner
from keras_dropx.experiments.panel import Arm


def test_sites_get_their_own_arguments():
    found = {"mean_rates": [0.1, 0.2], "mean_fractions": [0.5, 0.6]}
    get = runner._arguments
    assert get(Arm("x"), 300, None) is None
    assert get(Arm("x", rates=(0.2, 0.5)), 300, None) == (0.2, 0.5)
    assert get(Arm("x", rates_of="jumpout"), 300, found) == [0.1, 0.2]
    assert get(Arm("x", fractions_of="jumpout"), 300, found) == [0.5, 0.6]
    sized = get(Arm("x", sized=True), 300, None)
    assert list(itertools.islice(sized, 2)) == [300, 300]
