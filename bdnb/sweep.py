"""A notebook's parameters as a set of runs, made one after the other; Snakemake makes the same.

A run that is recorded is not made again; one that fails does not stop the others.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from bdnb.config import grids, parameters, yaml_files
from bdnb.config.recipes import TrainConfig
from bdnb.runs import experiments, results
from bdnb.runs.experiments import Stage
from bdnb.runs.records import Run
from bdnb.runtime import progress
from bdnb.runtime.command import RunError, command, logged
from bdnb.runtime.errors import BdnbError, ConfigError

# A sweep's bar counts every run by itself.
EACH: dict[str, Any] = {"mininterval": 0, "unit_scale": False}

NAMED = 2
"""Runs that failed, named in the last message of a sweep."""


class SweepError(BdnbError, RuntimeError):
    """Some runs of a sweep failed: which, and why, in at most three lines. The others are recorded.

    failed: name of a run -> why. crashed: one of them by an error of the program.
    """

    def __init__(self, failed: Mapping[str, str], *, runs: int, crashed: bool) -> None:
        lines = [f"  {name}: {why}" for name, why in failed.items()]
        if len(lines) > NAMED:
            lines[1:] = [f"  and {len(lines) - 1} more, each with a line of its own above"]
        super().__init__("\n".join([f"{len(failed)} of {runs} runs failed:", *lines]))
        self.status = 1 if crashed else 2


@dataclass(frozen=True)
class Sweep:
    """Runs that belong together, checked as a whole before the first one starts."""

    requested: list[Stage]

    @property
    def table(self) -> pd.DataFrame:
        """A line a run: what tells it from the others, its folder, whether it is recorded."""
        values = pd.DataFrame([parameters.identity(config) for config in self.requested])
        named = [f.name for f in fields(self.requested[0])]
        varied = [c for c in named if c in values and values[c].astype(str).nunique() > 1]
        always = {"poisoned", "objective", "defence", "loss", "lr", "seed"}
        shown = values[[c for c in named if c in values and (c in always or c in varied)]]
        folders = experiments.folders(self.requested)
        states = ["recorded" if experiments.recorded(c) else "to do" for c in self.requested]
        return shown.assign(run=[f.name for f in folders], state=states)

    def check(self) -> "Sweep":
        """Return itself, unless something is wrong with a run not recorded. Errors: ConfigError."""
        for config in self.requested:
            if not experiments.recorded(config, warn=False):
                check(config)
        return self

    def run(self, *, needed: bool = True) -> pd.DataFrame:
        """Make every run that is not recorded yet, and return the tidy rows of all.

        needed: check all runs before the first one starts, and make what tells their kept epochs
        first, too; not for a job of Snakemake, which makes that in another job at the same time,
        and in which a run that cannot start does not stop the others.
        Errors: SweepError at the end, naming each run that failed and why.
        """
        failed: dict[str, str] = {}
        crashed = False
        first = [other for one in self.requested if needed for other in experiments.like(one)]
        wanted = experiments.by_folder([*first, *self.requested])
        to_do = [c for c in wanted.values() if not experiments.recorded(c, warn=False)]
        for path, config in wanted.items():
            if config not in to_do:
                Run(path).settle()
        if len(self.requested) > 1:
            count = len(self.requested)
            print(f"{count} runs, of which {len(to_do)} to do; the others are recorded")
        for data in dict.fromkeys(map(experiments.data_of, to_do)):
            _make_data(data)
        for config in to_do if needed else ():
            check(config)
        few = len(to_do) < 2
        with progress.bar(total=len(to_do), unit=" runs", disable=few, **EACH) as bar:
            for number, config in enumerate(to_do, 1):
                name = experiments.folder(config).name
                try:
                    with logged(experiments.folder(config)):
                        if not needed:
                            check(config)
                        run_one(config)
                except BdnbError as error:
                    known = isinstance(error, RunError)
                    failed[name] = str(error) if known else f"{type(error).__name__}: {error}"
                    if len(to_do) > NAMED:  # the last word names only a few
                        print(f"{name}: {failed[name]}", file=sys.stderr, flush=True)
                    crashed = crashed or error.status == 1
                state = f"{number - len(failed)} done, {len(failed)} failed"
                bar.set_postfix_str(f"{state}, {len(to_do) - number} left", refresh=False)
                bar.update()
        if failed:
            raise SweepError(failed, runs=len(self.requested), crashed=crashed)
        return self.rows()

    def rows(self) -> pd.DataFrame:
        """The tidy rows of those runs that are recorded."""
        return results.rows(self.requested)


def _make_data(name: str) -> None:
    """Have a data set made, if it is one to be made: its classes are then known to ``check``."""
    from bdnb.data import datasets

    if name:
        datasets.dataset(name)


def run_one(config: Stage) -> Run:
    """Return one run of either stage, made unless it is recorded, as ``launch.make`` does."""
    from bdnb.clean import clean
    from bdnb.train import train

    return train(config) if isinstance(config, TrainConfig) else clean(config)


def check(config: Stage) -> None:
    """All that can be known to be wrong before a run starts. Errors: ConfigError."""
    from bdnb import clean, train

    return train.check(config) if isinstance(config, TrainConfig) else clean.check(config)


def from_notebook(notebook: str, namespace: Mapping[str, Any]) -> Sweep:
    """The runs that a notebook's parameters ask for; a list is the axis of a grid.

    notebook: its name, such as "clean". namespace: ``globals()``. What the notebook leaves at
    None comes from ``params/<scale>/<experiment>.yaml``, what that leaves out from the stage's
    dataclass. Errors: ConfigError for anything wrong with a run that is not recorded, before any
    work starts; a page of recorded runs needs no torch.
    """
    given = parameters.from_notebook(namespace)
    cls = experiments.STAGE_OF.get(notebook, TrainConfig)
    known = {f.name for f in fields(cls)} | {"base", "grids"}
    where = f"{notebook}.ipynb"
    studies = notebook == "ablations"  # each with a parameter file of its own
    for name in ("scale", "study" if studies else "experiment"):
        if not isinstance(given.get(name), str):
            raise ConfigError(f"{where}: {name}={given.get(name)!r}: expected a word")
    if studies:
        given |= {"experiment": study(notebook, given, where)}
    scale, name = given["scale"], given["experiment"]
    loaded, file = parameters.load(scale, name), f"params/{scale}/{name}.yaml"
    if experiments.STAGE_OF.get(owner := experiments.notebook_of(name)) is not cls:
        raise ConfigError(f"{where}: {file} is for {owner}.ipynb")
    _not_of_base(given, loaded, file)
    if unknown := [name for name in given if name not in known]:
        parameters.make(cls, {name: given[name] for name in unknown}, where=where)
    _once(cls, given, where)
    grids.expand(cls, given, where=where)  # what is wrong with other values, the file says
    values = parameters.override(loaded, given)
    return Sweep(grids.expand(cls, values, where=file)).check()


def study(notebook: str, given: Mapping[str, Any], where: str) -> str:
    """The experiment that a study of a notebook stands for. Errors: ConfigError lists the others.

    given: scale and study, perhaps experiment, which must then be the same.
    """
    known = experiments.of_notebook(notebook, given["scale"])
    name = known.get(given["study"], "")
    if not name or given.get("experiment", name) != name:
        other = f", experiment={given['experiment']!r}" if name else ""
        raise ConfigError(
            f"{where}: study={given['study']!r}{other}: no such study; params/{given['scale']}/ "
            f"has {', '.join(known) or 'none'}"
        )
    return name


def _not_of_base(given: dict[str, Any], loaded: Mapping[str, Any], file: str) -> None:
    """Take ``base`` out; refuse a value that the file has from it, and the notebook otherwise.

    papermill's -f gives a file's own values alone, so that the notebook's own would silently win.
    """
    if (base := given.pop("base", None)) is None:
        return
    own = yaml_files.read(parameters.scale_folder(given["scale"]) / f"{given['experiment']}.yaml")
    own |= {name: None for grid in own.get("grids", ()) for name in grid}
    for name in sorted(given.keys() & loaded.keys() - own.keys()):
        if loaded[name] not in (given[name], [given[name]]):
            raise ConfigError(
                f"{file}: has {name}={loaded[name]!r} from its base {base}.yaml, and the notebook "
                f"says {given[name]!r}; leave -f out, and name its scale and experiment with -p, "
                f"and {name} with -y instead"
            )


def _once(cls: type, given: Mapping[str, Any], where: str) -> None:
    """Refuse what is said in ``grids`` and beside them: the grids would silently win."""
    defaults = {f.name: f.default for f in fields(cls)}
    grids = given["grids"] if isinstance(given.get("grids"), list) else []
    inside = {name for grid in grids if isinstance(grid, dict) for name in grid}
    for name in sorted(inside & set(given)):
        if given[name] != defaults.get(name):
            raise ConfigError(
                f"{where}: {name}={given[name]!r}, but the grids of the parameter file say {name}, "
                f"too; leave -f out, and name its scale and experiment with -p instead"
            )


def main() -> None:
    """``python -m bdnb.sweep params/quick/clean.yaml [--only RUN ...]``: its runs, or some."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("params", type=Path, help="params/<scale>/<experiment>.yaml")
    parser.add_argument("--only", nargs="+", metavar="RUN", help="names of runs' folders")
    given = parser.parse_args()
    with command("bdnb.sweep"):
        requested = {experiments.folder(c).name: c for c in experiments.of_path(given.params)}
        if unknown := [name for name in given.only or () if name not in requested]:
            raise ConfigError(f"--only {' '.join(unknown)}: no such run in {given.params}")
        chosen = [requested[name] for name in given.only or requested]
        Sweep(chosen).run(needed=given.only is None)


if __name__ == "__main__":
    main()
