"""A run is a folder with a manifest and its rows; figures and tables are made from these alone.

``manifest.json``: parameters, seed, versions, commit, device. ``rows.jsonl``: one row an epoch,
flushed to disk as it is made. ``read_runs`` turns any set of runs into one tidy DataFrame.
"""

import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from bdnb.runs import elsewhere
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import append_line, remove_parts, write_atomic
from bdnb.runtime.interrupts import held
from bdnb.runtime.project import root

Row = dict[str, Any]
PACKAGES = ("bdnb", "torch", "torchvision", "open_clip_torch", "accelerate", "numpy")


def runs_folder() -> Path:
    """Where runs are kept: ``runs/``, or the folder that ``BDNB_RUNS`` names."""
    return Path(os.environ.get("BDNB_RUNS") or root() / "runs").absolute()


def commit() -> str:
    """The checkout's commit, with ``+changes`` when the tree differs from it."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+changes"]
    done = subprocess.run([*git, "--abbrev=12"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that rows depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def now() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Run:
    """One run's folder, open for appending rows by one process at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def manifest(self) -> dict[str, Any]:
        """What was run: ``{}`` before it has started."""
        path = self.folder / "manifest.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    @property
    def finished(self) -> bool:
        """Whether every row is there."""
        return bool(self.manifest.get("finished"))

    def start(self, *, stage: str, config: Mapping[str, Any], device: str, **extra: Any) -> None:
        """Write the manifest, or note in it that the run is taken up again; mend torn rows."""
        old = self.manifest
        about = {"commit": commit(), "versions": versions(), "device": device}
        about |= {"command": Path(sys.argv[0]).name, "started": now()}
        if old:
            new = old | {"resumed": [*old.get("resumed", []), about]}
        else:
            new = {"run": self.folder.name, "stage": stage, "config": dict(config)} | about | extra
        self._write(new)
        if torn := self.repair():
            print(f"{self.folder.name}: dropped a torn last row ({torn} bytes); it is made again")

    def note(self, **values: Any) -> None:
        """Add values to the manifest."""
        self._write(self.manifest | values)

    @property
    def state(self) -> Path:
        """The file that training goes on from while the run is not finished."""
        return self.folder / "state.pt"

    def finish(self, **values: Any) -> None:
        """Mark the run as whole."""
        self.note(finished=now(), **values)
        self.settle()

    def settle(self) -> None:
        """What a finished run still lacks when it was cut off there, or Snakemake took it away.

        The file that says so, for Snakemake, and no training state.
        """
        if not (self.folder / "finished").is_file():
            remove_parts(self.folder)
            write_atomic(self.folder / "finished", self.manifest["finished"] + "\n")
        self.state.unlink(missing_ok=True)

    def _write(self, manifest: Mapping[str, Any]) -> None:
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        write_atomic(self.folder / "manifest.json", text)

    def append(self, row: Mapping[str, Any]) -> None:
        """Append a row and see it to the disk. Floats that are not finite are written as null.

        Errors: StorageError; the rows are then as they were.
        """
        finite = {k: _finite(v) for k, v in row.items()}
        line = json.dumps(finite, ensure_ascii=False, allow_nan=False) + "\n"
        with held():
            append_line(self.folder / "rows.jsonl", line.encode())

    def rows(self) -> list[Row]:
        """The rows so far, in order; a torn last line is left out."""
        path = self.folder / "rows.jsonl"
        if not path.is_file():
            return []
        whole = path.read_bytes().rpartition(b"\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def weights(self) -> dict[int, Path]:
        """The checkpoints by epoch, as far as they were kept."""
        found = sorted((self.folder / "checkpoints").glob("epoch_*.safetensors"))
        return {int(path.stem.partition("_")[2]): path for path in found}

    def origin(self) -> Path | None:
        """The weights that a cleaning run began with; None when they are gone."""
        source = self.manifest.get("about", {}).get("from")
        if not source:
            return None
        path = weights_of(Run(runs_folder() / source["run"]), source["epoch"])
        given = Path(self.manifest["config"]["poisoned"])
        return next((p for p in (path, given) if p.is_file()), None)

    def repair(self) -> int:
        """Cut a torn last line off the rows; how many bytes that was."""
        path = self.folder / "rows.jsonl"
        if not path.is_file():
            return 0
        data = path.read_bytes()
        whole, newline, torn = data.rpartition(b"\n")
        if torn:
            with path.open("r+b") as file:
                file.truncate(len(whole) + len(newline))
        return len(torn)


def weights_of(run: Run, epoch: int) -> Path:
    """Where a run keeps its weights after an epoch."""
    return run.folder / "checkpoints" / f"epoch_{epoch:03d}.safetensors"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_runs(runs: Path | Iterable[Path] | None = None, *, stage: str = "") -> pd.DataFrame:
    """Any set of runs as one tidy DataFrame: a line a row, the run's parameters as columns.

    runs: a folder of runs, or run folders; default: all of ``runs/``. stage: "train" or "clean"
    to have only these. Columns: run, stage, device, commit, finished, every parameter, every
    value of the rows; asr is NaN where nobody said what attacked the model. Errors: ConfigError for
    a folder that is no run.
    """
    chosen = runs_folder() if runs is None else runs
    if isinstance(chosen, Path):
        single = (chosen / "manifest.json").is_file()
        folders = [chosen] if single else sorted(p.parent for p in chosen.glob("*/manifest.json"))
    else:
        folders = list(chosen)
    frames = [_frame(folder) for folder in folders]
    frames = [f for f in frames if len(f) and (not stage or f["stage"].iloc[0] == stage)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _frame(folder: Path) -> pd.DataFrame:
    run = Run(folder)
    manifest = run.manifest
    if not manifest:
        raise ConfigError(f"{folder}: no run is recorded there (manifest.json is missing)")
    frame = pd.DataFrame(run.rows())
    about = {"run": manifest["run"], "stage": manifest["stage"]}
    about |= {key: manifest.get(key) for key in ("device", "commit", "finished")}
    about |= manifest["config"] | manifest.get("about", {})
    if "from" in about:
        about["pretrain_objective"] = elsewhere.objective(about)
    measured = {name: pd.to_numeric(frame[name]) for name in ("accuracy", "asr") if name in frame}
    if "asr" in measured and not elsewhere.attacked(manifest):
        measured["asr"] = measured["asr"] * float("nan")
    frame = frame.assign(**measured)
    if both := sorted(set(about) & set(frame)):
        raise ConfigError(f"{folder}: rows and parameters share the names {', '.join(both)}")
    columns = {k: str(v) if isinstance(v, dict | list) else v for k, v in about.items()}
    given = pd.DataFrame({k: [v] * len(frame) for k, v in columns.items()})
    return pd.concat([given, frame], axis=1)
