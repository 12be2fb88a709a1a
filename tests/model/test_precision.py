"""What `model.dtype: auto` stands for."""

from dataclasses import replace
from pathlib import Path

import pytest
from references import model_config

from whether.engine.local import LocalModel
from whether.errors import EngineError
from whether.model import precision
from whether.model.precision import cpu_features, native_dtype, precision_of, with_native_precision


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"avx512_f", "avx512_bf16"}, "bfloat16"),
        ({"amx_tile", "amx_bf16"}, "bfloat16"),
        ({"neon", "bf16"}, "bfloat16"),
        ({"avx2", "avx512_f", "avx512_vnni"}, "float32"),
        (set(), "float32"),
    ],
)
def test_a_processor_has_bfloat16_where_it_multiplies_it(
    features: set[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "cpu_features", lambda: features)
    assert native_dtype("cpu") == expected
    assert precision_of(replace(model_config(), dtype="auto")) == expected


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_has_bfloat16_where_it_is_not_emulated(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native and not including_emulation)
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda major, minor: native and (major, minor))
    expected = "bfloat16" if native else "float32"
    assert [native_dtype(device) for device in ("cuda", "mps")] == [expected, expected]


def test_torch_and_the_system_name_the_same_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    found = native_dtype("cpu")
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    if Path("/proc/cpuinfo").exists():
        assert native_dtype("cpu") == found
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(precision, "_CPUINFO", file)
    assert cpu_features() == set()
    file.write_text("processor\t: 0\nFeatures\t: fp asimd svebf16 i8mm bf16\n")
    assert cpu_features() == {"fp", "asimd", "svebf16", "i8mm", "bf16"}


def test_a_precision_that_is_named_stays() -> None:
    for dtype in ("float32", "bfloat16"):
        assert with_native_precision(model_config(dtype)) == model_config(dtype)


def test_a_device_that_is_not_there_is_an_error() -> None:
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(EngineError, match="device cuda is not available"):
            precision_of(replace(model_config("auto"), device="cuda"))


@pytest.mark.parametrize("native", ["bfloat16", "float32"])
def test_a_model_is_loaded_in_it(native: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "native_dtype", {"cpu": native}.get)
    assert str(LocalModel.load(tiny_model, None, model_config("auto")).model.dtype) == f"torch.{native}"
