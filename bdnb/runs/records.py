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
import warnings
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from bdnb.runs import damage, elsewhere
from bdnb.runs.damage import RecordError
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import append_line, remove_parts, write_atomic
from bdnb.runtime.project import root

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
        self.state = folder / "state.pt"
        """The file that training goes on from while the run is not finished."""
        self._rows = folder / "rows.jsonl"

    @property
    def manifest(self) -> dict[str, Any]:
        """What was run: ``{}`` before it has started. Errors: RecordError."""
        return damage.manifest(self.folder / "manifest.json")

    @property
    def finished(self) -> bool:
        """Whether every row is there. Errors: RecordError where some were, and are gone."""
        manifest = self.manifest
        damage.check(self._rows, manifest)
        return bool(manifest.get("finished"))

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
        whole = len(damage.whole_lines(self._rows))
        if torn := self._rows.stat().st_size - whole if self._rows.is_file() else 0:
            os.truncate(self._rows, whole)
            print(f"{self.folder.name}: dropped a torn last row ({torn} bytes); it is made again")

    def note(self, **values: Any) -> None:
        """Add values to the manifest."""
        self._write(self.manifest | values)

    def finish(self, **values: Any) -> None:
        """Mark the run as whole."""
        self.note(finished=now(), rows=damage.about(damage.whole_lines(self._rows)), **values)
        self.settle()

    def settle(self) -> None:
        """What a finished run still lacks when it was cut off there, or Snakemake took it away.

        The file that says so, for Snakemake, and no training state.
        """
        if not (self.folder / "finished").is_file():
            remove_parts(self.folder)
            write_atomic(self.folder / "finished", self.manifest["finished"] + "\n")
        if self.state.is_file():  # where nothing may be written, removing nothing fails, too
            self.state.unlink(missing_ok=True)

    def _write(self, manifest: Mapping[str, Any]) -> None:
        sealed = dict(manifest) | {"checksum": damage.checksum(manifest)}
        text = json.dumps(sealed, indent=2, ensure_ascii=False) + "\n"
        write_atomic(self.folder / "manifest.json", text)

    def append(self, row: Mapping[str, Any]) -> None:
        """Append a row and see it to the disk. Floats that are not finite are written as null.

        Errors: StorageError; the rows are then as they were.
        """
        bad = {k: None for k, v in row.items() if isinstance(v, float) and not math.isfinite(v)}
        line = json.dumps({**row, **bad}, ensure_ascii=False, allow_nan=False) + "\n"
        append_line(self._rows, line.encode())

    def rows(self) -> list[dict[str, Any]]:
        """The rows so far, in order; a torn last line is left out. Errors: RecordError."""
        damage.check(self._rows, self.manifest)
        return damage.rows(self._rows)

    def taken(self) -> set[str]:
        """Names of parameters and of what is measured, which no other value of a row can have."""
        manifest, first = self.manifest, next(iter(self.rows()), {})
        return {*(_about(manifest) if manifest else ()), *first, "distance"} - {"step"}

    def weights(self) -> dict[int, Path]:
        """The checkpoints by epoch, as far as they were kept."""
        found = sorted((self.folder / "checkpoints").glob("epoch_*.safetensors"))
        return {int(path.stem.partition("_")[2]): path for path in found}

    def origin(self) -> Path | None:
        """The weights (or NAME:TAG) that a cleaning run began with; None when they are gone."""
        source = self.manifest.get("about", {}).get("from")
        if not source:
            return None
        path = weights_of(Run(runs_folder() / source["run"]), source["epoch"])
        given = Path(self.manifest["config"]["poisoned"])
        if elsewhere.published(str(given)):
            return given
        return next((p for p in (path, given) if p.is_file()), None)


def weights_of(run: Run, epoch: int) -> Path:
    """Where a run keeps its weights after an epoch."""
    return run.folder / "checkpoints" / f"epoch_{epoch:03d}.safetensors"


def read_runs(runs: str | Path | Iterable[str | Path] | None = None) -> pd.DataFrame:
    """Any set of runs as one tidy DataFrame: a line a row, the run's parameters as columns.

    runs: a folder of runs, or run folders; default: all of ``runs/``. Columns: run, stage ("train"
    or "clean"), device, commit, finished, every parameter, every value of the rows; asr is NaN
    where nobody said what attacked the model. Damaged runs and copies of a run are left out with a
    warning, and listed in the frame's ``attrs["left_out"]``. Errors: ConfigError for a folder that
    is no run.
    """
    chosen = runs_folder() if runs is None else runs
    if isinstance(chosen, str | Path):
        path = Path(chosen)
        if runs is not None and not path.is_dir():
            raise ConfigError(f"{chosen}: no such folder; expected a run's folder, or one of runs")
        single = (path / "manifest.json").is_file()
        folders = [path] if single else sorted(p.parent for p in path.glob("*/manifest.json"))
    else:
        folders = [Path(one) for one in chosen]
    there, left_out = sound(folders)
    made = pd.DataFrame([line for run in there for line in tidy(run)])
    made.attrs["left_out"] = left_out
    return made


def sound(folders: Iterable[Path]) -> tuple[list[Run], dict[str, str]]:
    """The runs among these folders that can be read, and why each other one is left out.

    Left out, with one warning, are damaged runs and copies of a run under another folder's name.
    """
    left_out: dict[str, str] = {}
    there: dict[Path, str] = {}
    for folder in folders:
        try:
            Run(folder).rows()
            there[folder] = Run(folder).manifest.get("run", folder.name)
        except RecordError as error:
            left_out[folder.name] = str(error)
    originals = {name for folder, name in there.items() if folder.name == name}
    runs: dict[str, Run] = {}
    for folder, name in there.items():
        if folder.name != name and (name in originals or name in runs):
            left_out[folder.name] = f"{folder}: a copy of the run {name}"
        else:
            runs[str(folder) if folder.name == name else name] = Run(folder)
    if left_out:
        first = next(iter(left_out.values()))
        text = f"{len(left_out)} of {len(left_out) + len(runs)} runs left out. {first}"
        warnings.warn(text, stacklevel=3)
    return list(runs.values()), left_out


def finished(folder: Path, *, warn: bool = True) -> bool:
    """Whether a run is recorded as a whole; a damaged one is not, and a warning says why."""
    try:
        return Run(folder).finished
    except RecordError as error:
        if warn:
            warnings.warn(str(error), stacklevel=2)
        return False


def _about(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says that stands in every row."""
    about = {"run": manifest["run"], "stage": manifest["stage"]}
    about |= {key: manifest.get(key) for key in ("device", "commit", "finished")}
    about |= manifest["config"] | manifest.get("about", {})
    if "from" in about:
        about["pretrain_objective"] = elsewhere.objective(about)
    return {k: str(v) if isinstance(v, dict | list) else v for k, v in about.items()}


def tidy(run: Run) -> list[dict[str, Any]]:
    """A run's rows with its parameters beside them, as ``read_runs`` has them."""
    manifest = run.manifest
    if not manifest:
        raise ConfigError(f"{run.folder}: no run is recorded there (manifest.json is missing)")
    about = _about(manifest)
    unsaid = {} if elsewhere.attacked(manifest) else {"asr": math.nan}
    lines = []
    for row in run.rows():
        if both := sorted(about.keys() & row.keys()):
            raise ConfigError(
                f"{run.folder}: rows and parameters share the names {', '.join(both)}"
            )
        missing = {name: math.nan for name in ("accuracy", "asr") if row.get(name, 0) is None}
        lines.append(about | row | missing | (unsaid if "asr" in row else {}))
    return lines
