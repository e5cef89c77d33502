"""The arena's rules: rows of cleaning runs in, a line for each way of cleaning in each cell out.

A cell is an attack and a pre-training objective. A way of cleaning is a defence with a loss; its
settings (learning rate, options) are frozen where it was tuned, on one cell alone. Each way is
judged twice: by an oracle over all settings and epochs, and by the epoch that its blind rule keeps
of the frozen setting. Beside it stands the control: MMCL alone with no more steps.
"""

from collections.abc import Mapping

import pandas as pd

from bdnb.analysis import arms, blind
from bdnb.analysis.conclusions import CONTRAST
from bdnb.analysis.metrics import before, by_seed, candidates, over_seeds
from bdnb.analysis.price import kept_accuracy, most
from bdnb.analysis.verdict_rules import FAILS, HOLDS, decide

GATE = 90.0
"""ASR (percent) before cleaning below which the attack failed, and there is nothing to compare."""
KEEPS = 95.0
"""Percent of the accuracy before that the oracle's lowest ASR must leave."""
TUNED_ON = {"attack": "badnet", "objective": "mmcl"}
CONTROL = ("cleanclip", "mmcl")
CELL = ["attack", "route", "objective"]
WAY = ["defence", "loss"]
SETTING = ["lr", "options"]
OBJECTIVES = ("mmcl", "mmcl_ssl")


def entries(rows: pd.DataFrame, rules: Mapping[str, str]) -> pd.DataFrame:
    """Return a line for each way of cleaning in each cell.

    rows: a line an epoch, columns ``CELL``, ``WAY``, ``SETTING``, run, seed, epoch, step, accuracy
    and asr (percent). rules: defence -> blind rule. Out: ``CELL``, ``WAY``; failed (the attack did;
    numbers are then missing); seeds, runs, rows, steps; accuracy_before, asr_before; ``Spread`` of
    kept (oracle), kept_blind, control; by seed: values (kept), gain (kept less the control's);
    lowest_asr (oracle's at ``KEEPS``), asr_blind, accuracy_blind (percent of that before), cost
    (kept less kept_blind); setting; tuned (whether it was frozen in the cell ``TUNED_ON``); edge.
    """
    picked = picks(rows, rules)
    settings = {way: _frozen(own) for way, own in picked.groupby(WAY)}
    lines = []
    for cell, own in rows.groupby(CELL, sort=False):
        start = own[own["epoch"] == 0].groupby("seed")["asr"].mean()
        there = own[own["seed"].isin(start.index[start >= GATE])]
        for way, its in own.groupby(WAY, sort=False):
            about = dict(zip([*CELL, *WAY], [*cell, *way], strict=True))
            line = about | {"failed": there.empty, "accuracy_before": before(its).accuracy}
            line |= {"asr_before": float(start.mean()), "runs": its["run"].nunique()}
            line |= {"rows": len(its), "steps": its["step"].max()}
            mine = its[its["seed"].isin(there["seed"])]
            line["seeds"] = mine["seed"].nunique()
            if len(mine):
                chosen = picked[picked["run"].isin(mine["run"])]
                line |= _judged(mine, chosen, settings[way]) | _beside_control(mine, there)
            lines.append(line)
    return pd.DataFrame(lines)


def picks(rows: pd.DataFrame, rules: Mapping[str, str]) -> pd.DataFrame:
    """Return the row of each run that its blind rule keeps, with ``start``, accuracy before."""
    kept = []
    for _, run in rows.groupby("run", sort=False):
        epoch = blind.pick(run, rules.get(run["defence"].iloc[0], "last"))
        kept.append(run[run["epoch"] == epoch].assign(start=before(run).accuracy))
    return pd.concat(kept, ignore_index=True)


def _frozen(picked: pd.DataFrame) -> tuple[object, ...] | None:
    """The setting whose blind picks are best in the cell ``TUNED_ON``; None without runs there."""
    there = picked[(picked[list(TUNED_ON)] == pd.Series(TUNED_ON)).all(axis=1)]
    if there.empty:
        return None
    scores = {
        setting: (_kept_of_picks(own).mean(), -own["asr"].mean())
        for setting, own in there.groupby(SETTING)
    }
    return max(scores, key=lambda setting: scores[setting])


def _kept_of_picks(picked: pd.DataFrame) -> pd.Series:
    """Kept accuracy of each seed's one model that was picked blindly."""
    return by_seed(picked, lambda own: kept_accuracy(own, start=own["start"].iloc[0]))


def _judged(rows: pd.DataFrame, picked: pd.DataFrame, frozen: object) -> dict[str, object]:
    """What a way reaches in a cell, by the oracle and blindly."""
    values, share = by_seed(rows, kept_accuracy), (0.0, most(rows))
    mine = [setting == frozen for setting in zip(*(picked[n] for n in SETTING), strict=True)]
    tuned = any(mine)
    # Untuned, a defender may still look at accuracy.
    chosen = picked[mine] if tuned else picked.sort_values("accuracy").groupby("seed").tail(1)
    chosen = chosen.drop_duplicates("seed")
    kept_blind = _kept_of_picks(chosen)
    rates = rows["lr"].nunique()
    return {
        "values": values,
        "kept": over_seeds(values, limits=share),
        "kept_blind": over_seeds(kept_blind, limits=share),
        "cost": float((values - kept_blind).mean()),
        "lowest_asr": float(by_seed(rows, _lowest_asr).mean()),
        "asr_blind": float(chosen["asr"].mean()),
        "accuracy_blind": float((100 * chosen["accuracy"] / chosen["start"]).mean()),
        "setting": dict(chosen.iloc[0][SETTING]) if tuned else None,
        "tuned": tuned,
        "edge": rates > 1 and arms.at_edge(rows),
    }


def _lowest_asr(rows: pd.DataFrame) -> float:
    models = candidates(rows)
    good = models["accuracy"] >= KEEPS / 100 * before(rows).accuracy
    return float(models.loc[good, "asr"].min())


def _beside_control(rows: pd.DataFrame, cell: pd.DataFrame) -> dict[str, object]:
    """The control's kept accuracy with no more steps, and what the way gains over it, by seed."""
    control = cell[(cell[WAY] == CONTROL).all(axis=1) & (cell["step"] <= rows["step"].max())]
    control = control.groupby("seed").filter(lambda own: bool((own["epoch"] > 0).any()))
    kept = by_seed(control, kept_accuracy)
    gain = (by_seed(rows, kept_accuracy) - kept).dropna()
    return {"control": over_seeds(kept, limits=(0.0, most(cell))), "gain": gain}


def across(made: pd.DataFrame) -> pd.DataFrame:
    """Return a line a way of cleaning: what it keeps on each objective, and what holds of both.

    Means over the attacks that did not fail. Columns: ``WAY``; mmcl, mmcl_ssl (percent); attacks;
    contrast (``Spread`` over seeds of the first less the second) and side: "mmcl" or "mmcl_ssl"
    where its interval lies beyond ``CONTRAST`` points on that side, else ""; level: whether it lies
    within them; gains: the objectives on which it is better than the control by as much; edge:
    whether its best models lie at an edge of the learning rates in any cell.
    """
    lines = []
    good = made[~made["failed"]] if len(made) else made
    for way, own in good.groupby(WAY, sort=False) if len(good) else ():
        by = dict(zip(own[CELL].itertuples(index=False, name=None), own["values"], strict=True))
        pairs = [cell[:2] for cell in by if cell[2] == "mmcl" and (*cell[:2], "mmcl_ssl") in by]
        if not pairs:
            continue
        gaps = [(by[(*p, "mmcl")] - by[(*p, "mmcl_ssl")]).dropna() for p in pairs]
        gap = pd.concat(gaps, axis=1).mean(axis=1)
        sides = {"mmcl": decide(gap, CONTRAST), "mmcl_ssl": decide(gap, -CONTRAST, above=False)}
        line = dict(zip(WAY, way, strict=True)) | {"attacks": len(pairs)}
        line |= {o: float(pd.concat([by[(*p, o)] for p in pairs]).mean()) for o in OBJECTIVES}
        line |= {"contrast": over_seeds(gap)}
        line |= {"side": next((o for o, word in sides.items() if word == HOLDS), "")}
        line |= {"level": all(word == FAILS for word in sides.values()), "gains": _gains(own)}
        line |= {"edge": bool(own["edge"].any())}
        lines.append(line)
    return pd.DataFrame(lines)


def _gains(own: pd.DataFrame) -> tuple[str, ...]:
    found = []
    for objective in OBJECTIVES:
        gains = [one for one in own.loc[own["objective"] == objective, "gain"] if len(one)]
        if gains and decide(pd.concat(gains, axis=1).mean(axis=1), CONTRAST) == HOLDS:
            found.append(objective)
    return tuple(found)


def best(made: pd.DataFrame, objective: str, number: str = "kept") -> tuple[str, str, float] | None:
    """Return what keeps most on one objective: defence, loss, percent (mean over attacks).

    number: "kept" or "kept_blind". Ways that were run on fewer attacks than others do not count.
    """
    good = made[(made["objective"] == objective) & ~made["failed"]]
    if good.empty:
        return None
    ways = good.assign(mean=[one.mean for one in good[number]]).groupby(WAY)["mean"]
    means = ways.mean()[ways.size() == ways.size().max()]
    defence, loss = map(str, means.index[int(means.argmax())])
    return defence, loss, float(means.max())
