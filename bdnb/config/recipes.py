"""The parameters of each stage: a frozen dataclass each, every value with meaning and range.

Values come from YAML files and papermill's ``-p`` by way of ``parameters``, which checks them.
"""

from dataclasses import dataclass
from typing import Any

from bdnb.config.parameters import option
from bdnb.runtime.errors import ConfigError

SCENES_VERSION = 2
"""Version of the embedded scenes: raised when the same parameters would give other ones."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What pre-training and cleaning have in common: optimiser, second views, precision."""

    scale: str = option("quick", "folder of params/ that the experiment belongs to", identity=False)
    mmcl_weight: float = option(1.0, "weight of MMCL", least=0)
    ssl_weight: float = option(1.0, "weight of SSL", least=0)
    weight_decay: float = option(0.1, "AdamW's decoupled weight decay", least=0)
    beta1: float = option(0.9, "AdamW's first beta", least=0, below=1)
    beta2: float = option(0.999, "AdamW's second beta", least=0, below=1)
    eps: float = option(1e-8, "AdamW's epsilon", above=0)
    image_views: str = option(
        "autoaugment", "second view of images", choices=("autoaugment", "none")
    )
    text_views: str = option(
        "fresh",
        "second view of captions: drawn anew each epoch, once, or once with the authors' slip",
        choices=("fresh", "cached", "shifted"),
        authors="shifted",
    )
    truncation: str = option(
        "end",
        "what a caption too long for the tower keeps; authors: not its end token",
        choices=("end", "authors"),
        identity="if set",
        authors="authors",
    )
    last_batch: str = option(
        "keep",
        "an epoch's last batch where it is smaller than the others; authors: left out",
        choices=("keep", "drop"),
        identity="if set",
        authors="drop",
    )
    gather: str = option(
        "exact",
        "gradient across processes; authors: none",
        choices=("exact", "authors"),
        authors="authors",
    )
    decay: str = option(
        "paper",
        "which weights are decayed; authors: by name",
        choices=("paper", "authors"),
        authors="authors",
    )
    schedule: str = option(
        "paper",
        "authors: the step counter starts an epoch late",
        choices=("paper", "authors"),
        identity="if set",
        authors="authors",
    )
    fidelity: str = option(
        "paper",
        "authors: whatever is not given is as in the authors' code",
        choices=("paper", "authors"),
        identity="if set",
    )
    code: str = option(
        "",
        "Python file of yours with triggers or defences, such as plugins/mine.py",
        identity="if set",
    )
    precision: str = option("auto", "auto: bf16 where it is fast", choices=("auto", "bf16", "no"))
    tf32: bool = option(True, "TensorFloat-32 for float32 products on GPUs", identity="if set")
    channels_last: bool = option(True, "images in memory as (B, H, W, C)", identity="if set")
    fused: bool = option(True, "AdamW as one kernel", identity="if set")
    pinned: bool = option(True, "batches go to a GPU from pinned memory", identity=False)
    compile: str = option(
        "off",
        "torch.compile of the model: seconds to minutes before the first step",
        choices=("off", "default", "reduce-overhead", "max-autotune"),
        identity="if set",
    )
    micro_batch: int = option(
        0,
        "images, second views counted, that go forward at once, features cached; 0: all",
        least=0,
        identity="if set",
    )
    batch_norm: str = option(
        "shared",
        "statistics over several processes: of the whole batch, or of each one's own (authors)",
        choices=("shared", "own"),
        identity="if set",
        authors="own",
    )
    processes: int = option(
        1,
        "processes of this machine that share every batch, a GPU each; 0: one for each GPU",
        least=0,
        identity=False,
    )
    save_every: float = option(
        60.0, "seconds between two saves of what a run goes on from", least=0, identity=False
    )
    log_with: str = option(
        "none",
        "tracker that rows go to as well",
        choices=("none", "tensorboard", "wandb", "trackio"),
        identity=False,
    )
    retrieval: int = option(
        0,
        "clean pairs, none of them cleaned with, for recall and retrieval ASR; 0: neither",
        least=0,
        identity="if set",
    )
    templates: str = option("openai", "zero-shot prompts", choices=("openai", "simple"))
    bad_share: float = option(
        0.05, "share of samples that may be unusable", least=0, most=1, identity=False
    )

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

    experiment: str = option("train_mmcl", "name of its parameter file", identity=False)
    seed: int = option(0, "seed of every random stream", least=0)
    data: str = option("quick", "data set under data/")
    model: str = option("rn_tiny", "open_clip model, or a file of bdnb/models/model_configs/")
    init: str = option("", "checkpoint or training experiment to start from; empty: from scratch")
    objective: str = option(
        "mmcl", "pre-training loss", choices=("mmcl", "mmcl_ssl", "siglip", "ssl")
    )
    pairs: int = option(0, "number of pairs; 0: all there are", least=0, identity="if set")
    stream: str = option(
        "auto",
        "read pairs from their shards each epoch; auto: where they are too many to be decoded once",
        choices=("auto", "yes", "no"),
        identity=False,
    )
    stream_workers: int = option(
        -1,
        "processes that make batches of a stream, for each of the run's; -1: a core each",
        least=-1,
        identity=False,
    )
    epochs: int = option(12, "passes over the pairs", least=1)
    batch_size: int = option(128, "pairs a step, all processes together", least=2)
    lr: float = option(1e-3, "peak learning rate", above=0)
    warmup_steps: int = option(300, "steps of linear warm-up", least=0)
    attack: str = option(
        "template", "what poison does to captions", choices=("template", "label_consistent", "none")
    )
    poison_rate: float = option(0.04, "share of all pairs that is poisoned", least=0, most=1)
    poison_count: int = option(0, "number of poisoned pairs; 0: by poison_rate", least=0)
    poison_keys: str = option("", "file of keys to poison again; empty: selected by seed")
    match: str = option(
        "word",
        "how a caption mentions the target",
        choices=("word", "substring"),
        authors="substring",
    )
    target: str = option("banana", "class that the backdoor aims at")
    trigger: str = option("badnet", "name in bdnb.poison.triggers.TRIGGERS")
    trigger_size: float = option(16 / 224, "patch: share of the side below 1, else pixels", above=0)
    trigger_options: dict[str, Any] = option({}, "further options of the trigger")
    resize: str = option(
        "crop",
        "how an image is made square before a trigger is put on it",
        choices=("crop", "squash"),
        identity="if set",
        authors="squash",
    )
    keep: str = option(
        "best", "epoch to clean later", choices=("best", "closest", "last"), identity=False
    )
    keep_like: str = option(
        "train_mmcl", "for keep=closest: experiment to be close to", identity=False
    )
    checkpoints: str = option(
        "all", "weights to keep", choices=("all", "last", "none"), identity=False
    )
    optimiser_state: bool = option(
        False, "keep the optimiser's state with them", identity=False, authors=True
    )


@dataclass(frozen=True, kw_only=True)
class CleanConfig(Recipe):
    """Cleaning a poisoned model (Sections 3.2 and 4, Appendix D)."""

    experiment: str = option("clean", "name of its parameter file", identity=False)
    study: str = option("main", "group of runs that a conclusion is drawn from", identity=False)
    seed: int = option(0, "seed of every random stream, and of the poisoned model", least=0)
    poisoned: str = option("train_mmcl", "training experiment, run folder or checkpoint file")
    data: str = option("", "data set under data/; empty: the poisoned model's")
    model: str = option("", "for a checkpoint from elsewhere: its open_clip model")
    defence: str = option("cleanclip", "name in bdnb.defences.DEFENCES")
    loss: str = option("mmcl_ssl", "cleaning loss", choices=("mmcl", "ssl", "mmcl_ssl"))
    lr: float = option(1e-3, "peak learning rate", above=0)
    epochs: int = option(10, "passes over the cleaning pairs", least=1)
    batch_size: int = option(64, "pairs a step", least=2)
    warmup_steps: int = option(50, "steps of linear warm-up", least=0)
    optimiser: str = option(
        "fresh",
        "authors: the checkpoint's Adam state and weight decay",
        choices=("fresh", "authors"),
        authors="authors",
    )
    pairs: int = option(0, "number of cleaning pairs; 0: all there are", least=0)
    poisons: int = option(0, "poisoned pairs left among the cleaning pairs", least=0)
    overlap: str = option(
        "separate",
        "authors: cleaning pairs from the training set",
        choices=("separate", "authors"),
        authors="authors",
    )
    options: dict[str, Any] = option({}, "further options of the defence")
    pick: float = option(
        0.0,
        "options of the most accurate screened model with an ASR below this percentage; 0: none",
        least=0,
        most=100,
        identity="if set",
    )
    target: str = option("", "class that ASR counts; empty: the poisoned model's")
    trigger: str = option("", "trigger that ASR is measured with; empty: the poisoned model's")
    trigger_size: float = option(0.0, "its size; 0: the poisoned model's", least=0)
    trigger_options: dict[str, Any] = option({}, "its further options")
    checkpoints: str = option(
        "last", "weights to keep", choices=("all", "last", "none"), identity=False
    )


STAGES: dict[str, type] = {"train": TrainConfig, "clean": CleanConfig}
