"""A notebook's parameters as a set of runs, made one after the other; Snakemake makes the same.

A run that is recorded is not made again; one that fails does not stop the others.
"""

import argparse
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from bdnb.config import parameters
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.runs import experiments
from bdnb.runs.experiments import Stage
from bdnb.runs.records import Run
from bdnb.runtime import interrupts, progress
from bdnb.runtime.errors import ConfigError

# A sweep's bar counts every run by itself.
EACH: dict[str, Any] = {"mininterval": 0, "unit_scale": False}

# Notebooks of several studies, each with a parameter file of its own.
STUDIES_OF = ("ablations",)


class SweepError(RuntimeError):
    """Some runs of a sweep failed: which, and why. The others are recorded."""


@dataclass(frozen=True)
class Sweep:
    """Runs that belong together, checked as a whole before the first one starts."""

    asked: list[Stage]

    @property
    def table(self) -> pd.DataFrame:
        """A line a run: what tells it from the others, its folder, whether it is recorded."""
        values = pd.DataFrame([parameters.identity(config) for config in self.asked])
        named = [f.name for f in fields(self.asked[0])]
        varied = [c for c in named if c in values and values[c].astype(str).nunique() > 1]
        always = {"poisoned", "objective", "defence", "loss", "lr", "seed"}
        shown = values[[c for c in named if c in values and (c in always or c in varied)]]
        folders = [experiments.folder(config) for config in self.asked]
        states = ["recorded" if Run(f).finished else "to do" for f in folders]
        return shown.assign(run=[f.name for f in folders], state=states)

    def run(self, *, needed: bool = True) -> pd.DataFrame:
        """Make every run that is not recorded yet; the tidy rows of all.

        needed: make what they are compared with first, too; not for a job of Snakemake, which
        makes that in another job at the same time.
        Errors: SweepError at the end, naming each run that failed and why.
        """
        failed: dict[str, str] = {}
        first: list[Stage] = []
        for one in self.asked if needed else ():
            first += [*experiments.like(one), *experiments.screened(one)]
        wanted = {experiments.folder(config): config for config in (*first, *self.asked)}
        to_do = [config for path, config in wanted.items() if not Run(path).finished]
        for path in wanted:
            if Run(path).finished:
                Run(path).settle()
        if len(self.asked) > 1:
            print(f"{len(self.asked)} runs, of which {len(to_do)} to do; the others are recorded")
        few = len(to_do) < 2
        with progress.bar(total=len(to_do), unit=" runs", disable=few, **EACH) as bar:
            for number, config in enumerate(to_do, 1):
                name = experiments.folder(config).name
                try:
                    run_one(config)
                except Exception as error:
                    failed[name] = f"{type(error).__name__}: {error}"
                    traceback.print_exc()
                state = f"{number - len(failed)} done, {len(failed)} failed"
                bar.set_postfix_str(f"{state}, {len(to_do) - number} left", refresh=False)
                bar.update()
        if failed:
            lines = "\n".join(f"  {name}: {why}" for name, why in failed.items())
            raise SweepError(f"{len(failed)} of {len(self.asked)} runs failed:\n{lines}")
        return self.rows()

    def rows(self) -> pd.DataFrame:
        """The tidy rows of those runs that are recorded."""
        return experiments.rows(self.asked)


def run_one(config: Stage) -> Run:
    """One run of either stage, on as many processes as it says."""
    from bdnb.clean import clean
    from bdnb.train import train
    from bdnb.training.launch import devices, launched, on_processes

    count = config.processes or devices()
    if count > 1 and not launched():
        on_processes(count, run_one, config)
        return Run(experiments.folder(config))
    return train(config) if isinstance(config, TrainConfig) else clean(config)


def check(config: Stage) -> None:
    """All that can be known to be wrong before a run starts. Errors: ConfigError."""
    from bdnb import clean, defences, models
    from bdnb.training import attacks, setup

    if isinstance(config, CleanConfig):
        defences.check(config)
        experiments.screened(config)
        needed = experiments.needs(config)
        if not needed:
            if clean.is_foreign(clean.checkpoint(config.poisoned)):
                clean.check_known(config)
            if config.trigger:
                attacks.stamp(clean.attack(config, TrainConfig(code=config.code)))
        source = needed[0] if needed else None
    else:
        source = config
        setup.starting_weights(config)
    if source is not None:
        models.check_name(source.model)
        attacks.stamp(source)


def from_notebook(notebook: str, namespace: Mapping[str, Any]) -> Sweep:
    """The runs that a notebook's parameters ask for; a list is the axis of a grid.

    notebook: its name, such as "clean". namespace: ``globals()``. What the notebook leaves at
    None comes from ``params/<scale>/<experiment>.yaml``, what that leaves out from the stage's
    dataclass. Errors: ConfigError for anything wrong, before any work starts.
    """
    given = parameters.from_notebook(namespace)
    cls = experiments.STAGE_OF.get(notebook, TrainConfig)
    known = {f.name for f in fields(cls)} | {"base", "grids"}
    where = f"{notebook}.ipynb"
    if unknown := [name for name in given if name not in known]:
        parameters.make(cls, {name: given[name] for name in unknown}, where=where)
    named = ("scale", "study") if notebook in STUDIES_OF else ("scale", "experiment")
    for name in named:
        if not isinstance(given.get(name), str):
            raise ConfigError(f"{where}: {name}={given.get(name)!r}: expected a word")
    if notebook in STUDIES_OF:
        given |= {"experiment": study(notebook, given, where)}
    loaded = parameters.load(given["scale"], given["experiment"])
    given.pop("base", None)
    _once(cls, given, where)
    values = parameters.override(loaded, given)
    asked = experiments.expand(cls, values, where=where)
    for config in asked:
        check(config)
    return Sweep(asked)


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


def of_file(scale: str, experiment: str) -> Sweep:
    """The runs of a parameter file. Errors: ConfigError."""
    return Sweep(experiments.of_file(scale, experiment))


def main() -> None:
    """``python -m bdnb.sweep params/quick/clean.yaml [--only RUN]``: its runs, or one of them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("params", type=Path, help="params/<scale>/<experiment>.yaml")
    parser.add_argument("--only", help="name of one run's folder")
    given = parser.parse_args()
    asked = experiments.of_file(given.params.parent.name, given.params.stem)
    chosen = [c for c in asked if given.only in (None, experiments.folder(c).name)]
    if not chosen:
        raise ConfigError(f"--only {given.only}: no such run in {given.params}")
    for config in chosen:
        check(config)
    with interrupts.command("bdnb.sweep"):
        Sweep(chosen).run(needed=given.only is None)


if __name__ == "__main__":
    main()
