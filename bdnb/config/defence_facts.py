"""What each defence knows, when it stops without a trigger, and whose it is; read without torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DefenceFacts:
    """One defence.

    knows: at most, with any of its options, its blind rule included; of "clean pairs", "class
    names", "labelled images" (whose classes tell it its accuracy), "training pairs", "trigger",
    "nothing". blind: the rule of ``analysis.blind`` that picks its epoch. paper: its source.
    """

    knows: tuple[str, ...]
    blind: str
    paper: str


PAIRS = ("clean pairs",)
LABELS = "labelled images"
OURS = "the paper's control or ablation"

FACTS: dict[str, DefenceFacts] = {
    "cleanclip": DefenceFacts(PAIRS, "last", "Bansal et al. 2023, arXiv 2303.03323"),
    "retrain": DefenceFacts(PAIRS, "last", OURS),
    "shrink_perturb": DefenceFacts(PAIRS, "last", "Ash and Adams 2020, arXiv 1910.08475"),
    "screen": DefenceFacts(("nothing",), "last", "Ash and Adams 2020, arXiv 1910.08475"),
    "heavy_regularisation": DefenceFacts(PAIRS, "last", OURS),
    "deep_cluster": DefenceFacts(
        ("clean pairs", "class names"), "last", "Caron et al. 2018, arXiv 1807.05520"
    ),
    "par": DefenceFacts(
        (*PAIRS, LABELS), "best_accuracy", "Singh, Croce and Hein 2024, arXiv 2412.00727"
    ),
    "interpolate": DefenceFacts(
        (*PAIRS, LABELS), "accuracy_floor", "Wortsman et al. 2022 (WiSE-FT), arXiv 2109.01903"
    ),
    "clp": DefenceFacts((LABELS,), "accuracy_floor", "Zheng et al. 2022, arXiv 2208.03111"),
    "fine_pruning": DefenceFacts(
        PAIRS, "last", "Liu et al. 2018, arXiv 1805.12185; NAD: Li et al. 2021, arXiv 2101.05930"
    ),
    "invertune": DefenceFacts(
        ("clean pairs", "class names"), "loss_plateau", "Sun et al. 2025, arXiv 2506.12411"
    ),
    "drop": DefenceFacts(
        ("clean pairs", "class names", "training pairs"),
        "last",
        "Huang et al. 2025, arXiv 2502.01385",
    ),
}

MEASUREMENTS = ("detect", "probe", "swap")
"""Entered as defences for the sake of their rows; they clean nothing."""


@dataclass(frozen=True)
class DetectorFacts:
    """One detector.

    of: what it judges, training "pairs" or test "images". paper: its source. null: AUROC (percent)
    of poison that is close together and no further from clean images than these from each other,
    where 2 % are poisoned and, by neighbours, 16 of a group of 128: ``evaluate.detectors.density``.
    """

    words: str
    of: str
    paper: str
    null: float = 50.0


DAO = "Huang et al. 2025, arXiv 2502.01385"

DETECTORS: dict[str, DetectorFacts] = {
    "k_distance": DetectorFacts("k-distance", "pairs", DAO, 33.0),
    "lid": DetectorFacts("LID", "pairs", DAO, 4.0),
    "slof": DetectorFacts("SLOF", "pairs", DAO, 48.0),
    "dao": DetectorFacts("DAO", "pairs", DAO),
    "isolation_forest": DetectorFacts("isolation forest", "pairs", "Liu et al. 2008", 1.0),
    "clip_score": DetectorFacts("CLIPScore", "pairs", "Hessel et al. 2021, arXiv 2104.08718"),
    "gmm": DetectorFacts("mixture of cosines", "pairs", "Yang et al. 2024, arXiv 2310.05862"),
    "bdetclip": DetectorFacts("BDetCLIP", "images", "Niu et al. 2025, arXiv 2405.15269"),
    "subspace": DetectorFacts("Subspace Detection", "images", "Song and others 2026"),
}
"""Detectors of poison by name; one that is not here is a reader's own."""
NEIGHBOURS = ("k_distance", "lid", "slof", "dao")
"""Those that look for neighbours, in groups of what they judge or among clean pairs."""
LOOK_AT_IMAGES = (*NEIGHBOURS, "isolation_forest")
"""Those that are given image features, unit or raw."""
