"""Which runs stand in the arena: a scale's, recorded or shipped, and of a reader's defence."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from statistics import mode
from typing import Any

import pandas as pd
from IPython.display import Markdown

from bdnb import plan
from bdnb.analysis.arena import CELL
from bdnb.config import parameters
from bdnb.config.defence_facts import MEASUREMENTS
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.report.style import some
from bdnb.runs import experiments, results, shipped
from bdnb.runs.experiments import Stage
from bdnb.runtime.errors import ConfigError

NO_WAYS = (*MEASUREMENTS, "screen", "retrain")
"""What is registered as a defence, and leaves no cleaned model to use."""
OWN_OBJECTIVE = ("drop",)
"""Ways of cleaning that train with the model's own objective: it is no part of the way."""
AFTERWARDS = "rebound"
"""Study of runs that start from cleaned models, to see what comes back: no way of cleaning."""
YOURS = ("defence", "code", "loss", "options", "lr", "epochs", "seed", "poisoned")
"""Parameters of the page that ask for runs of a defence of the reader's."""
WHICH = ("seed", "poisoned")
"""Those that choose among CleanCLIP's runs; the others replace its values."""


def asked(scale: str, given: Mapping[str, Any]) -> list[CleanConfig]:
    """Return the runs that put a reader's defence beside the others: CleanCLIP's, with it instead.

    given: the page's parameters, those that are not None; a list is an axis. Empty without a
    defence. Errors: ConfigError for anything else without one, and for what no run can have.
    """
    if unknown := [name for name in given if name not in (*YOURS, "scale")]:
        raise ConfigError(f"arena.ipynb: {unknown[0]}: unknown; there are {', '.join(YOURS)}")
    axes = {n: v if isinstance(v, list) else [v] for n, v in given.items() if n in YOURS}
    if not axes:
        return []
    if "defence" not in axes:
        raise ConfigError(f"arena.ipynb: {', '.join(axes)} without a defence: say whose runs")
    which = {"defence": ["cleanclip"], "loss": ["mmcl_ssl"], "study": ["main", "arena"]}
    plain = [
        one
        for one in experiments.runs_of(scale)
        if isinstance(one, CleanConfig)
        and experiments.is_experiment(scale, one.poisoned)
        and all(getattr(one, name) in values for name, values in which.items())
    ]
    for name in WHICH:
        there = sorted({getattr(one, name) for one in plain})
        wanted = axes.pop(name, there)
        if wrong := [value for value in wanted if value not in there]:
            raise ConfigError(
                f"arena.ipynb: {name}={wrong[0]!r}: CleanCLIP has no such run in params/{scale}/: "
                f"expected some of {', '.join(map(str, there)) or 'none'}"
            )
        plain = [one for one in plain if getattr(one, name) in wanted]
    same = {"experiment": "clean", "study": "arena", "checkpoints": "none"}
    points = [dict(zip(axes, point, strict=True)) for point in product(*axes.values())]
    made = [
        parameters.make(CleanConfig, asdict(one) | same | point, where="arena.ipynb")
        for one in plain
        for point in points
    ]
    if not made:
        raise ConfigError(f"scale={scale!r}: CleanCLIP has no such run there to stand beside")
    return list({parameters.digest(asdict(run)): run for run in made}.values())


def costs(scale: str, runs: Sequence[CleanConfig]) -> Markdown:
    """Say how many of these runs are to do, and about how long that and what they need takes."""
    needed: list[Stage] = [model for run in runs for model in experiments.needs(run)]
    to_do = [_to_do(runs), _to_do(needed)]
    rate = plan.throughput(scale)
    hours = sum(plan.seconds(one, rate) for part in to_do for one in part) / 3600
    return Markdown(
        f"{len(to_do[0])} of {some(len(runs), 'run')} to do, and {some(len(to_do[1]), 'model')} to "
        f"train first: about {hours:.1f} hours of one {rate.device}."
    )


def _to_do(runs: Sequence[Stage]) -> list[Stage]:
    once = experiments.by_folder(runs).values()
    return [run for run in once if not experiments.recorded(run, warn=False)]


def rows(scale: str, runs: Sequence[CleanConfig] = ()) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of finished runs with columns ``CELL`` and ``source``: here, shipped, yours.

    First those of ways of cleaning, then of runs that only measure. runs: the reader's own. Only
    runs of experiments of cleaning count, on models that a training experiment of the scale made.
    loss: "" of those in ``OWN_OBJECTIVE``.
    """
    both = [shipped.rows_anywhere(scale)[1], results.rows(runs).assign(source="yours")]
    both = [frame for frame in both if len(frame)]
    if not both:
        return pd.DataFrame(), pd.DataFrame()
    made = pd.concat(both, ignore_index=True)
    plain = made["experiment"].str.partition("_")[0] == "clean"
    made = made[made["finished"].notna() & plain]
    made = made.assign(loss=made["loss"].mask(made["defence"].isin(OWN_OBJECTIVE), ""))
    names = [n for n in made["poisoned"].unique() if experiments.is_experiment(scale, n)]
    usual = _usual_model(scale)
    cells = {name: _cell(experiments.trained(scale, name, 0), usual) for name in names}
    made = made[made["poisoned"].isin(names)].drop(columns=CELL, errors="ignore")
    values = pd.DataFrame([cells[n] for n in made["poisoned"]], columns=CELL, index=made.index)
    made = made.join(values)
    ways = ~made["defence"].isin(NO_WAYS) & (made["study"] != AFTERWARDS)
    parts = [made[one].drop_duplicates(["run", "epoch"], keep="last") for one in (ways, ~ways)]
    return parts[0], parts[1]


def planned(scale: str) -> pd.DataFrame:
    """Return the runs that a scale plans, a line each: defence, loss, CELL, ran.

    defence, loss: "" for a run that is no way of cleaning: of training, or one that only measures;
    loss, too, of those in ``OWN_OBJECTIVE``. ran: whether its rows are recorded here or shipped.
    """
    there, usual, lines = set(shipped.read(scale)), _usual_model(scale), []
    for one in experiments.by_folder(experiments.runs_of(scale)).values():
        ran = shipped.shipped_name(one) in there or experiments.recorded(one, warn=False)
        cleaning = isinstance(one, CleanConfig)
        model = experiments.trained(scale, one.poisoned, one.seed) if cleaning else one
        ways = cleaning and one.defence not in NO_WAYS and one.study != AFTERWARDS
        loss = "" if not ways or one.defence in OWN_OBJECTIVE else one.loss
        lines.append((one.defence if ways else "", loss, *_cell(model, usual), ran))
    return pd.DataFrame(lines, columns=["defence", "loss", *CELL, "ran"])


def _usual_model(scale: str) -> str:
    """The architecture that most training experiments of a scale have; routes do not name it."""
    first = [made[0] for made in experiments.of_scale(scale).values()]
    return mode([one.model for one in first if isinstance(one, TrainConfig)] or [""])


def _cell(config: TrainConfig, usual: str) -> tuple[str, str, str]:
    """Attack, route (with the model, where it is not the usual one) and objective."""
    how = "" if config.attack == "template" else f", {config.attack.replace('_', '-')}"
    model = "" if config.model == usual else f", {config.model}"
    route = ("fine-tuned" if config.init else "scratch") + model
    return f"{config.trigger}{how}", route, config.objective
