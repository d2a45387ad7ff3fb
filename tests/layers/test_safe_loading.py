"""A `.keras` file cannot make our classes run code."""

import json
import zipfile

import keras
import pytest

from keras_dropx.layers import GAAF, AugmentedDropout

LAMBDA = {
    "class_name": "__lambda__",
    "config": {"value": ["4wAAAAA=", None, None]},
    "module": "builtins",
    "registered_name": None,
}


@pytest.mark.parametrize(
    "layer, argument",
    [
        (GAAF("tanh"), "activation"),
        (GAAF("tanh"), "shape"),
        (AugmentedDropout(0.5), "rate"),
        (AugmentedDropout(0.5), "backward_rate"),
    ],
)
def test_a_lambda_in_a_config_is_refused(layer, argument, tmp_path):
    model = keras.Sequential([keras.Input((3,)), layer])
    model.save(tmp_path / "good.keras")
    assert keras.models.load_model(tmp_path / "good.keras", safe_mode=True)
    with (
        zipfile.ZipFile(tmp_path / "good.keras") as good,
        zipfile.ZipFile(tmp_path / "bad.keras", "w") as bad,
    ):
        for name in good.namelist():
            content = good.read(name)
            if name == "config.json":
                config = json.loads(content)
                config["config"]["layers"][1]["config"][argument] = LAMBDA
                content = json.dumps(config).encode()
            bad.writestr(name, content)
    with pytest.raises((ValueError, TypeError), match="lambda"):
        keras.models.load_model(tmp_path / "bad.keras", safe_mode=True)
