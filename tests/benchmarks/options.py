"""What options that are not exact change: speed, loss, predictions.

``python -m tests.benchmarks.options --out FILE``: for each option the rows that it touches, timed
in turn with the package as it comes; and a model trained for a few steps with the option, from the
same weights, beside one trained without it. A line and a row of kind ``option`` each.
"""

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from . import command, measure

if TYPE_CHECKING:
    from bdnb.models import Model

    from .cases import Bench

STEP, EVALUATION = "step MMCL+SSL", "evaluation"
PLAIN: dict[str, Any] = {"precision": "no"}
"""The package as it comes, in fp32 wherever it is measured."""


class Option(NamedTuple):
    """Parameters that differ from ``PLAIN``, and the rows of the table that they touch."""

    parameters: dict[str, Any]
    rows: tuple[str, ...] = (STEP,)


OPTIONS = {
    "the same again": Option({}, (STEP, EVALUATION)),
    "precision=bf16": Option({"precision": "bf16"}, (STEP, EVALUATION)),
    "compile=default": Option({"compile": "default"}),
    "compile=reduce-overhead": Option({"compile": "reduce-overhead"}),
    "compile=max-autotune": Option({"compile": "max-autotune"}),
    "templates=simple": Option({"templates": "simple"}, (EVALUATION,)),
    "micro_batch=half": Option({"micro_batch": -1}),
    "channels_last=False": Option({"channels_last": False}),
    "fused=False": Option({"fused": False}),
}
"""By name; ``micro_batch`` -1 stands for half of a batch's images. The first is the control."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the options asked for."""
    parser = command.parser("tests.benchmarks.options", __doc__)
    parser.add_argument("--options", nargs="+", default=[], help="words of the names; all")
    parser.add_argument("--steps", type=int, default=50, help="that models are trained for")
    parser.add_argument("--effect", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--set", type=json.loads, default={}, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    command.choose_device(given)
    if given.effect:
        bench = command.make_ready(given, Path(os.environ["BDNB_HOME"]), parameters=given.set)
        np.savez(given.effect, **effect(bench, given.steps))
        return
    words = [word.lower() for word in given.options]
    asked = {n: o for n, o in OPTIONS.items() if not words or any(w in n for w in words)}
    if not asked:
        parser.error(f"--options {' '.join(words)}: expected words of {', '.join(OPTIONS)}")
    with tempfile.TemporaryDirectory() as folder:
        every(given, Path(folder), asked)


def every(given: argparse.Namespace, home: Path, asked: dict[str, Option]) -> None:
    """A line and a row for each row of the table that an option touches."""
    from bdnb.runtime import progress

    bench = command.make_ready(given, home, parameters=PLAIN)
    plain = trained(given, home / "plain.npz", PLAIN)
    with progress.bar(total=len(asked), unit=" options") as bar:
        for name, option in asked.items():
            parameters = PLAIN | option.parameters
            if parameters.get("micro_batch") == -1:
                parameters["micro_batch"] = bench.case.batch
            for row in one(given, bench, home, name, option.rows, parameters, plain):
                command.append(given.out, row)
                print(line(row), flush=True)
            bar.update(1)


def one(
    given: argparse.Namespace,
    bench: "Bench",
    home: Path,
    name: str,
    rows: tuple[str, ...],
    parameters: dict[str, Any],
    plain: dict[str, np.ndarray],
) -> list[dict]:
    """The rows of an option; one that cannot be used here says why and has no numbers."""
    both = {"bdnb": PLAIN, "option": parameters}
    made = []
    compared: dict[str, Any] = {}
    for row in rows:
        about = {"kind": "option"} | command.about(bench, given) | {"option": name, "row": row}
        about |= {"steps": given.steps, "parameters": parameters}
        try:
            with command.ways(given, row, list(both), parameters=both) as ways:
                first = ways["option"].ask("go")
                times = measure.in_turn(ways, repeats=given.repeats)
                memory = measure.peaks(ways)
            compared = compared or compare(plain, trained(given, home / "option.npz", parameters))
        except RuntimeError as error:
            return [*made, about | {"error": reason(str(error))}]
        speed = {"seconds": measure.medians(times), "times": times, "memory_mb": memory}
        made.append(about | speed | {"first_seconds": first} | compared)
    return made


def trained(
    given: argparse.Namespace, out: Path, parameters: dict[str, Any]
) -> dict[str, np.ndarray]:
    """``effect`` in a process of its own. Errors: RuntimeError with what it said."""
    options = [f"--{n.replace('_', '-')}={getattr(given, n)}" for n in command.SIZES]
    options += [f"--model={given.model}", f"--device={given.device}", f"--steps={given.steps}"]
    options += [f"--effect={out}", f"--set={json.dumps(parameters)}"]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.options", *options],
        env=os.environ | {"PYTHONPATH": str(command.ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise RuntimeError(ran.stderr[-3000:])
    return dict(np.load(out))


def effect(bench: "Bench", steps: int) -> dict[str, np.ndarray]:
    """Training from the case's weights, and what is predicted with the bench's parameters.

    Keys: loss (steps,); own (N,): classes that the model so trained gives the labelled images;
    same (N,): those that the first model so trained in this folder gives them; labels (N,).
    """
    from bdnb import models

    model, first = bench.model(), bench.home / "trained.safetensors"
    batches = bench.batches(model, "train", ssl=True)
    loop, loss = bench.loop(model, steps=steps), bench.objective(ssl=True)
    model.train()
    endless = (batch for epoch in itertools.count(1) for batch in batches.epoch(epoch))
    losses = [float(loop.descend(batch, loss)[0]) for batch in itertools.islice(endless, steps)]
    if not first.is_file():
        models.save_weights(model, first, about={})
    own = predicted(bench, model)
    models.load_weights(model, first)
    labels = bench.data.labelled(bench.side)[0].labels
    return {
        "loss": np.array(losses),
        "own": own,
        "same": predicted(bench, model),
        "labels": np.array(labels),
    }


def predicted(bench: "Bench", model: "Model") -> np.ndarray:
    """The class of each image of the first labelled set (N,), by the package's evaluation."""
    from bdnb.evaluate import zero_shot
    from bdnb.evaluate.benchmark import evaluating, image_features, text_features
    from bdnb.evaluate.folded import folded

    labelled, templates = bench.data.labelled(bench.side)[0], bench.benchmark().templates
    bf16 = bench.accelerator.mixed_precision != "no"
    with (
        torch.autocast(bench.device.type, torch.bfloat16, enabled=bf16),
        evaluating(model),
        folded(model),
    ):
        head = zero_shot.head(lambda p: text_features(model, p), labelled.classnames, templates)
        found = zero_shot.predictions(image_features(model, labelled.images), head)[:, 0]
    return found.cpu().numpy()


def compare(plain: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, float]:
    """What an option changes, in percent and points of accuracy.

    loss_change: of the last step's loss, relative. same_*: of the same weights measured with it;
    own_*: of a model trained and measured with it. *_equal: of images with an equal prediction.
    """
    labels, before = plain["labels"], plain["own"]
    found = {
        "accuracy": 100 * float((before == labels).mean()),
        "images": len(labels),
        "loss_change": 100 * float(other["loss"][-1] / plain["loss"][-1] - 1),
    }
    for key in ("same", "own"):
        right = float((other[key] == labels).mean() - (before == labels).mean())
        found[f"{key}_equal"] = 100 * float((other[key] == before).mean())
        found[f"{key}_accuracy_change"] = 100 * right
    return found


def reason(said: str) -> str:
    """The last line of an error, no longer than a sentence, without anybody's folders."""
    lines = [
        line for line in said.splitlines() if re.match(r"\S*(Error|Exception|Compiler)\S*:", line)
    ]
    last = (lines or said.splitlines() or ["it said nothing"])[-1]
    return re.sub(r"/[^\s'\",:]+", "…", last)[:200]


def line(row: dict) -> str:
    """A row in words."""
    start = f"{row['option']}, {row['row']}: "
    if "error" in row:
        return f"{start}cannot be used here: {row['error']}"
    ratio = row["seconds"]["bdnb"] / row["seconds"]["option"]
    return (
        f"{start}{ratio:.2f} times as fast; loss {row['loss_change']:+.2g} % after {row['steps']} "
        f"steps; {row['same_equal']:.1f} % of predictions equal with the same weights, "
        f"{row['own_equal']:.1f} % when trained with it"
    )


if __name__ == "__main__":
    main()
