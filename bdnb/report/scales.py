"""The scales side by side: parameter files in, a Markdown table for *How to read this book* out."""

from bdnb import plan
from bdnb.config import parameters
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.data.steps import steps_of_epoch
from bdnb.runs import experiments

SCALES = ("paper", "effect", "laptop", "quick")
"""Those that are shown, where their parameter files are there."""
WEB = {"classes": 1000, "side": 224}
"""ImageNet's classes and the side of web images, for sets that nothing here draws."""
FOLLOWS = {
    "pairs to pre-train on": "fewer scenes, seen more often: models that know less",
    "classes": "fewer classes: guessing right is easier",
    "image side": "less detail",
    "poisoned pairs": "more poison is easier to learn, and harder to clean away",
    "patch, of the side": "a larger patch is easier to learn, and easier to tell from the image",
    "pairs to clean with, of those": "a larger share can teach the model anew: cleaning is easier",
    "cleaning steps, of pre-training's": "more steps: cleaning is easier, and costs more",
    "batch, MMCL and MMCL + SSL": "a larger batch has more negatives; at one size the objective "
    "alone differs",
    "passes, pre-training and cleaning": "fewer passes: less is learnt by heart, poison as well",
    "steps, pre-training and cleaning": "fewer steps: models know less, and SSL is less finished",
    "seeds, as planned": "intervals over seeds, where there are two or more",
    "hours of one device, as planned": "",
}
"""Line of the table -> what follows from the difference to the paper."""


def about(scale: str) -> dict[str, str]:
    """Return what a scale's main models are trained and cleaned on, in words."""
    train = experiments.trained(scale, "train_mmcl", 0)
    runs = experiments.of_file(scale, "clean")
    data = plan.sizes(train.data)
    drawn = WEB if train.data in plan.WEB else parameters.load(train.data, "data")
    pairs, cleaning = train.pairs or data.train, runs[0].pairs or data.clean
    poison = train.poison_count / pairs if train.poison_count else train.poison_rate
    size = train.trigger_size
    steps, clean_steps = steps_of(train, pairs), steps_of(runs[0], cleaning)
    hours = plan.with_sum(scale)["hours"].iloc[-1]
    return {
        "pairs to pre-train on": f"{pairs:,}",
        "classes": f"{drawn['classes']:,}",
        "image side": f"{drawn['side']} px",
        "poisoned pairs": f"{poison:.2%}".replace("%", " %"),
        "patch, of the side": f"{size if size < 1 else size / drawn['side']:.0%}".replace(
            "%", " %"
        ),
        "pairs to clean with, of those": f"{cleaning:,} ({100 * cleaning / pairs:.1f} %)",
        "cleaning steps, of pre-training's": f"{100 * clean_steps / steps:.1f} %",
        "batch, MMCL and MMCL + SSL": ", ".join(
            str(experiments.trained(scale, name, 0).batch_size)
            for name in ("train_mmcl", "train_mmcl_ssl")
        ),
        "passes, pre-training and cleaning": f"{train.epochs}, {runs[0].epochs}",
        "steps, pre-training and cleaning": f"{steps:,}, {clean_steps:,}",
        "seeds, as planned": seeds(scale),
        "hours of one device, as planned": f"{hours:,.1f}" if hours < 100 else f"{hours:,.0f}",
    }


def steps_of(config: TrainConfig | CleanConfig, pairs: int) -> int:
    """Return a run's steps on one device."""
    return config.epochs * steps_of_epoch(pairs, config.batch_size, last_batch=config.last_batch)


def seeds(scale: str) -> str:
    """Return the seeds of the main cleaning, and those of the other sections where they differ."""
    counts = {
        name: len({one.seed for one in requested})
        for name, requested in experiments.of_scale(scale).items()
        if not name.startswith("train")
    }
    main = counts.pop("clean")
    low, high = min(counts.values(), default=main), max(counts.values(), default=main)
    if low == high == main:
        return str(main)
    return f"{main} (elsewhere {low})" if low == high else f"{main} (elsewhere {low} to {high})"


def table() -> str:
    """Return the scales as a Markdown table, the paper's first."""
    made = {scale: about(scale) for scale in SCALES if experiments.is_experiment(scale, "clean")}
    lines = [
        ["", *(f"`{scale}`" for scale in made), "what follows from less or more than the paper's"]
    ]
    lines += [["---", *("---:" for _ in made), "---"]]
    lines += [[name, *(one[name] for one in made.values()), said] for name, said in FOLLOWS.items()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
