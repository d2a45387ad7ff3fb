from types import SimpleNamespace

import jax
import pytest

from benchmarks import gpu_plan


def test_a_description_that_cannot_be_read_is_named(tmp_path):
    missing, binary = tmp_path / "missing", tmp_path / "binary"
    binary.write_bytes(b"\x89PNG")
    with pytest.raises(gpu_plan.TargetError, match="missing: No such file"):
        gpu_plan.plan(missing)
    with pytest.raises(gpu_plan.TargetError, match="binary: .*decode"):
        gpu_plan.plan(binary)


def test_a_description_that_xla_refuses_is_named(tmp_path, monkeypatch):
    def devices(config, count):
        if config:
            raise jax.errors.JaxRuntimeError("Failed to parse\nline 2")
        return [SimpleNamespace(device_kind="")] * count

    monkeypatch.setattr(gpu_plan, "devices", devices)
    target = tmp_path / "gpu.txtpb"
    target.write_text("no description")
    with pytest.raises(gpu_plan.TargetError, match="txtpb: Failed to parse$"):
        gpu_plan.plan(target)
    target.write_text("")
    with pytest.raises(gpu_plan.TargetError, match="txtpb: names no device$"):
        gpu_plan.plan(target)
