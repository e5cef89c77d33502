"""The parameters of each stage: a frozen dataclass each, every value with meaning and range.

Values come from YAML files and papermill's ``-p`` by way of ``parameters``, which checks them.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Lt

from bdnb.config.options import Amount, Count, Number, Positive, Share
from bdnb.config.parameters import IF_SET, NEVER, option
from bdnb.runtime.errors import ConfigError

SCENES_VERSION = 2
"""Version of the embedded scenes: raised when the same parameters would give other ones."""

ONE_VIEW = ("mmcl", "siglip")
"""Losses without second views: a step costs about half of the others'."""

Whose = Literal["paper", "authors"]
"""Whose way of two that differ."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What pre-training and cleaning have in common: optimiser, second views, precision."""

    scale: str = option("quick", "folder of params/ that the experiment belongs to", NEVER)
    mmcl_weight: Amount = option(1.0, "weight of MMCL")
    ssl_weight: Amount = option(1.0, "weight of SSL, or of another self-supervised term")
    loss_options: dict[str, Any] = option(
        {}, "further options of the objective, or of the cleaning loss", IF_SET
    )
    weight_decay: Amount = option(0.1, "AdamW's decoupled weight decay")
    beta1: Annotated[float, Ge(0), Lt(1)] = option(0.9, "AdamW's first beta")
    beta2: Annotated[float, Ge(0), Lt(1)] = option(0.999, "AdamW's second beta")
    eps: Positive = option(1e-8, "AdamW's epsilon")
    image_views: Literal["autoaugment", "crop_flip", "none"] = option(
        "autoaugment", "second view of images"
    )
    text_views: Literal["fresh", "cached", "shifted"] = option(
        "fresh",
        "second view of captions: drawn anew each epoch, once, or once with the authors' slip",
        authors="shifted",
    )
    truncation: Literal["end", "authors"] = option(
        "end",
        "what a caption too long for the tower keeps; authors: not its end token",
        IF_SET,
        authors="authors",
    )
    last_batch: Literal["keep", "drop"] = option(
        "keep",
        "an epoch's last batch where it is smaller than the others; authors: left out",
        IF_SET,
        authors="drop",
    )
    gather: Literal["exact", "authors"] = option(
        "exact", "gradient across processes; authors: none", authors="authors"
    )
    decay: Whose = option("paper", "which weights are decayed; authors: by name", authors="authors")
    schedule: Whose = option(
        "paper", "authors: the step counter starts an epoch late", IF_SET, authors="authors"
    )
    fidelity: Whose = option(
        "paper", "authors: whatever is not given is as in the authors' code", IF_SET
    )
    code: str = option(
        "",
        "Python file of yours with triggers, defences, objectives or detectors: plugins/mine.py",
        IF_SET,
    )
    precision: Literal["auto", "bf16", "no"] = option("auto", "auto: bf16 where it is fast")
    tf32: bool = option(True, "TensorFloat-32 for float32 products on GPUs", IF_SET)
    channels_last: bool = option(True, "images in memory as (B, H, W, C)", IF_SET)
    kernels: Literal["usual", "small"] = option(
        "usual",
        "small: 1x1 convolutions, attention and captions in ways that are fast for small models on "
        "a CPU",
        IF_SET,
    )
    fused: bool = option(True, "AdamW as one kernel", IF_SET)
    pinned: bool = option(True, "batches go to a GPU from pinned memory", NEVER)
    compile: Literal["off", "default", "reduce-overhead", "max-autotune"] = option(
        "off", "torch.compile of the model: seconds to minutes before the first step", IF_SET
    )
    micro_batch: Number = option(
        0, "images, second views counted, that go forward at once, features cached; 0: all", IF_SET
    )
    batch_norm: Literal["shared", "own"] = option(
        "shared",
        "statistics over several processes: of the whole batch, or of each one's own (authors)",
        IF_SET,
        authors="own",
    )
    processes: Number = option(
        1,
        "processes of this machine that share every batch, a GPU each; 0: one for each GPU",
        NEVER,
    )
    save_every: Amount = option(60.0, "seconds between two saves of what a run goes on from", NEVER)
    log_with: Literal["none", "tensorboard", "wandb", "trackio"] = option(
        "none", "tracker that rows go to as well", NEVER
    )
    retrieval: Number = option(
        0,
        "clean pairs, none of them cleaned with, for recall and retrieval ASR; 0: neither",
        IF_SET,
    )
    templates: Literal["openai", "simple"] = option("openai", "zero-shot prompts")
    bad_share: Share = option(0.05, "share of samples that may be unusable", NEVER)

    def __post_init__(self) -> None:
        """Refuse what does not go together. Errors: ConfigError."""
        if self.micro_batch and self.compile in ("reduce-overhead", "max-autotune"):
            raise ConfigError(
                f"compile={self.compile!r} with micro_batch={self.micro_batch}: CUDA graphs write "
                "over features that micro_batch keeps; expected compile off or default, or "
                "micro_batch 0"
            )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Recipe):
    """Pre-training or poisoning a model (Section 3.1, Appendix A)."""

    experiment: str = option("train_mmcl", "name of its parameter file", NEVER)
    seed: Number = option(0, "seed of every random stream")
    data: str = option("quick", "data set under data/")
    model: str = option("rn_tiny", "open_clip model, or a file of bdnb/models/model_configs/")
    init: str = option("", "checkpoint or training experiment to start from; empty: from scratch")
    objective: str = option("mmcl", "pre-training loss: name in bdnb.training.objectives")
    pairs: Number = option(0, "number of pairs; 0: all there are", IF_SET)
    stream: Literal["auto", "yes", "no"] = option(
        "auto",
        "read pairs from their shards each epoch; auto: where they are too many to be decoded once",
        NEVER,
    )
    stream_workers: Annotated[int, Ge(-1)] = option(
        -1, "processes that make batches of a stream, for each of the run's; -1: a core each", NEVER
    )
    epochs: Count = option(12, "passes over the pairs")
    batch_size: Annotated[int, Ge(2)] = option(128, "pairs a step, all processes together")
    lr: Positive = option(1e-3, "peak learning rate")
    warmup_steps: Number = option(300, "steps of linear warm-up")
    attack: Literal["template", "natural", "label_consistent", "mismatched", "none"] = option(
        "template",
        "what poison does to captions: templates or natural captions of the target; none is "
        "changed; mismatched: natural ones on untriggered images of the victim",
    )
    poison_rate: Share = option(0.04, "share of all pairs that is poisoned")
    poison_count: Number = option(0, "number of poisoned pairs; 0: by poison_rate")
    poison_keys: str = option("", "file of keys to poison again; empty: selected by seed")
    match: Literal["word", "substring"] = option(
        "word", "how a caption mentions the target", authors="substring"
    )
    target: str = option("banana", "class that the backdoor aims at")
    victim: str = option("", "for attack=mismatched: classes to poison, joined by +", IF_SET)
    trigger: str = option("badnet", "name in bdnb.poison.triggers.TRIGGERS")
    trigger_size: Positive = option(16 / 224, "patch: share of the side below 1, else pixels")
    trigger_options: dict[str, Any] = option({}, "further options of the trigger")
    resize: Literal["crop", "squash"] = option(
        "crop",
        "how an image is made square before a trigger is put on it",
        IF_SET,
        authors="squash",
    )
    keep: Literal["best", "closest", "last"] = option("best", "epoch to clean later", NEVER)
    keep_like: str = option("train_mmcl", "for keep=closest: experiment to be close to", NEVER)
    checkpoints: Literal["all", "last", "none"] = option("all", "weights to keep", NEVER)
    optimiser_state: bool = option(
        False, "keep the optimiser's state beside the weights", NEVER, authors=True
    )


@dataclass(frozen=True, kw_only=True)
class CleanConfig(Recipe):
    """Cleaning a poisoned model (Sections 3.2 and 4, Appendix D)."""

    experiment: str = option("clean", "name of its parameter file", NEVER)
    study: str = option("main", "group of runs that a conclusion is drawn from", NEVER)
    seed: Number = option(0, "seed of every random stream, and of the poisoned model")
    poisoned: str = option("train_mmcl", "training experiment, run folder or checkpoint file")
    cleaned: dict[str, Any] = option(
        {},
        "start from the last model of a cleaning run of the scale: its experiment, and the values "
        "that tell it from the others of that file, such as lr",
        IF_SET,
    )
    data: str = option("", "data set under data/; empty: the poisoned model's")
    model: str = option("", "for a checkpoint from elsewhere: its open_clip model")
    defence: str = option("cleanclip", "name in bdnb.defences.DEFENCES")
    loss: str = option("mmcl_ssl", "cleaning loss: name in bdnb.training.objectives")
    lr: Positive = option(1e-3, "peak learning rate")
    epochs: Count = option(10, "passes over the cleaning pairs")
    batch_size: Annotated[int, Ge(2)] = option(64, "pairs a step")
    warmup_steps: Number = option(50, "steps of linear warm-up")
    optimiser: Literal["fresh", "authors"] = option(
        "fresh", "authors: the checkpoint's Adam state and weight decay", authors="authors"
    )
    pairs: Number = option(0, "number of cleaning pairs; 0: all there are")
    poisons: Number = option(0, "poisoned pairs left among the cleaning pairs")
    overlap: Literal["separate", "authors"] = option(
        "separate", "authors: cleaning pairs from the training set", authors="authors"
    )
    options: dict[str, Any] = option({}, "further options of the defence")
    pick: Annotated[float, Ge(0), Le(100)] = option(
        0.0,
        "options of the most accurate screened model with an ASR below this percentage; 0: none",
        IF_SET,
    )
    target: str = option("", "class that ASR counts; empty: the poisoned model's")
    trigger: str = option("", "trigger that ASR is measured with; empty: the poisoned model's")
    trigger_size: Amount = option(0.0, "its size; 0: the poisoned model's")
    trigger_options: dict[str, Any] = option({}, "its further options")
    checkpoints: Literal["all", "last", "none"] = option("last", "weights to keep", NEVER)
