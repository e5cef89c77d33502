import pytest
import torch

from bdnb.runtime import hardware


@pytest.fixture(autouse=True)
def anew():
    hardware.fast_bf16.cache_clear()
    hardware.capabilities.cache_clear()
    yield
    hardware.fast_bf16.cache_clear()
    hardware.capabilities.cache_clear()


def test_bf16_is_fast_where_torch_says_so():
    if torch.cuda.is_available():
        expected = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        cpu = torch.cpu
        expected = cpu._is_amx_tile_supported() or cpu._is_avx512_bf16_supported()
    assert hardware.fast_bf16() == expected


@pytest.mark.parametrize(
    ("gpus", "flags", "fast"),
    [
        ((9.0, 8.0), "", True),
        ((8.0, 7.5), "avx512_bf16", False),  # Turing emulates it
        ((), "fpu avx512_bf16", True),
        ((), "fpu amx_tile", True),
        ((), "fpu avx512f amx_int8", False),
    ],
)
def test_bf16_is_for_gpus_since_ampere_and_cpus_that_have_it(
    monkeypatch, tmp_path, gpus, flags, fast
):
    (tmp_path / "cpuinfo").write_text(f"flags: {flags}\n")
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(hardware, "capabilities", lambda: gpus)
    monkeypatch.setattr(hardware, "fast_bf16", hardware.fast_bf16.__wrapped__)
    assert hardware.fast_bf16() == fast


def test_gpus_are_asked_of_the_driver_unless_hidden(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '9.0\\n8.6\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(hardware, "version", lambda name: "2.9.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert hardware.capabilities.__wrapped__() == (9.0, 8.6)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert hardware.capabilities.__wrapped__() == ()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(hardware, "version", lambda name: "2.9.0+cpu")
    assert hardware.capabilities.__wrapped__() == ()
