"""What a page of recorded rows imports."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

HEAVY = {"torch", "open_clip", "torchvision", "accelerate", "faiss", "timm"}


@pytest.mark.parametrize("name", ["report", "analysis", "runs", "config", "plan", "runtime"])
def test_rows_and_pages_come_without_torch(name):
    code = f"""
import importlib, pkgutil, sys
package = importlib.import_module("bdnb.{name}")
for one in pkgutil.walk_packages(getattr(package, "__path__", []), "bdnb.{name}."):
    if not one.name.rpartition(".")[2].startswith("_"):  # papermill imports its engine itself
        importlib.import_module(one.name)
print(*sorted({HEAVY!r} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout.split() == []


REPOSITORY = Path(__file__).parents[2]
PAGES = {
    "clean": "clean",
    "summary": "",
    "ablations": "ablations_ssl_weight",
    "stopping": "stopping",
    "nonideal": "nonideal",
    "train": "train_mmcl",
    "other_models": "",
}


@pytest.fixture(scope="module")
def laptop(tmp_path_factory):
    """A folder of the runs that the book shows of the laptop scale."""
    made = tmp_path_factory.mktemp("shipped") / "laptop"
    unpack = [sys.executable, "-m", "bdnb.runs.shipped", "unpack", "laptop", str(made)]
    subprocess.run(unpack, check=True, timeout=600, cwd=REPOSITORY, env=os.environ | HERE)
    return made


HERE = {"BDNB_HOME": str(REPOSITORY), "PYTHONPATH": str(REPOSITORY)}


@pytest.mark.parametrize(("name", "experiment"), PAGES.items())
def test_a_page_of_recorded_rows_reads_them_without_torch(laptop, tmp_path, name, experiment):
    cells = json.loads((REPOSITORY / "notebooks" / f"{name}.ipynb").read_text("utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    given = {"scale": "laptop"}
    if experiment:
        given = yaml.safe_load(
            (REPOSITORY / "params" / "laptop" / f"{experiment}.yaml").read_text()
        )
        reads = next(i for i, cell in enumerate(code) if "runs.run()" in cell)
    else:
        reads = next(i for i, cell in enumerate(code) if "scoreboard.judged" in cell)
    lines = [code[0], f"globals().update({given!r})", *code[1 : reads + 1]]
    lines.append(f"import sys; sys.exit(' '.join({HEAVY!r} & set(sys.modules)) or None)")
    script = tmp_path / "page.py"
    script.write_text("\n".join(lines), "utf-8")
    found = os.environ | HERE | {"BDNB_RUNS": str(laptop)}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=600, env=found
    )
    assert done.returncode == 0, done.stderr[-2000:]
