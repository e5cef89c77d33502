import re
from itertools import permutations
from pathlib import Path

import pytest

from bdnb import plan
from bdnb.models import Model
from bdnb.report import costs
from bdnb.runs import experiments

FILES = sorted((Path(__file__).parents[2] / "params").glob("*/*.yaml"))


def test_all_runs_are_counted_once(tiny):
    names = [experiments.folder(config).name for config in costs.runs("tiny")]
    assert len(names) == len(set(names)) == plan.sections("tiny")["runs"].sum()


def test_jobs_end_no_sooner_than_the_best_order_and_no_later_than_four_thirds_of_it():
    jobs = [7.0, 6.0, 5.0, 4.0, 3.0, 2.0]

    def ends(order, places=2):
        busy = [0.0] * places
        for job in order:
            busy[busy.index(min(busy))] += job
        return max(busy)

    best = min(ends(order) for order in permutations(jobs))
    assert best <= costs._makespan(jobs, 2) <= best * 4 / 3
    assert costs._makespan(jobs, 1) == sum(jobs)
    assert costs._makespan(jobs, 99) == max(jobs)


def test_more_nodes_take_no_longer_and_never_less_than_their_share(tiny):
    work = costs.jobs("tiny")
    one, two = costs.days(work, 1), costs.days(work, 2)
    assert one / 2 <= two <= one


def test_hours_grow_with_seeds_as_a_whole_and_with_the_others_in_part(tiny):
    made = costs.growth("tiny").data.set_index("core-hours with")
    whole = plan.sections("tiny")["hours"].sum()
    assert made["x 1"].tolist() == pytest.approx([whole] * 3)
    assert made.loc["seeds", "x 4"] == pytest.approx(4 * whole)
    for what in ("pre-training data", "learning rates"):
        assert 0 < made.loc[what, "x 2"] - whole < whole


def test_checkpoints_are_counted_by_what_a_run_keeps(tiny):
    kept = costs._checkpoints("tiny")
    train = [experiments.trained("tiny", n, 0) for n in ("train_mmcl", "train_mmcl_ssl")]
    assert sum(kept.values()) >= sum(config.epochs for config in train)
    assert set(kept) == {config.model for config in train}


@pytest.mark.parametrize("name", costs.WEIGHTS)
def test_a_model_s_weights_are_those_open_clip_makes(name):
    model = Model(name)
    assert costs.parameters(name) == sum(p.numel() for p in model.parameters())


def test_every_model_of_the_parameter_files_is_listed():
    named = re.findall(r"^model: (\S+)", "".join(p.read_text() for p in FILES), re.M)
    assert set(named) <= set(costs.WEIGHTS)


def test_the_answer_is_the_sum_of_the_tables(tiny):
    days = costs.by_nodes("tiny").data["days"].iloc[0]
    hours = plan.sections("tiny")["hours"].sum()
    total = costs.disk("tiny").data.iloc[-1]
    said = costs.answer("tiny").data
    assert said.startswith(f"**{hours:,.0f} core-hours: {days:,.0f} days on 8 cores; ")
    assert f"{total['disk, GB'] / 1000:,.1f} TB of disk" in said
    assert said.endswith(f" {total['network, GB'] / 1000:,.1f} TB of network.**")


def test_the_disk_table_ends_with_the_sum(tiny):
    made = costs.disk("tiny").data
    numbers = made[["disk, GB", "network, GB"]]
    assert made["what"].iloc[-1] == "all"
    assert numbers.iloc[-1].tolist() == pytest.approx(numbers.iloc[:-1].sum().tolist())
