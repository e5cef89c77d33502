"""What a page of recorded rows imports."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "open_clip", "torchvision", "accelerate", "faiss", "timm"}


@pytest.mark.parametrize("name", ["report", "analysis", "runs", "config", "plan", "runtime"])
def test_rows_and_pages_come_without_torch(name):
    code = f"""
import importlib, pkgutil, sys
package = importlib.import_module("bdnb.{name}")
for one in pkgutil.walk_packages(getattr(package, "__path__", []), "bdnb.{name}."):
    importlib.import_module(one.name)
print(*sorted({HEAVY!r} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.split() == []
