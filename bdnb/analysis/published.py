"""What the paper published: the numbers of its Tables 1 to 3."""

import math
from typing import NamedTuple

import pandas as pd


class Published(NamedTuple):
    """The paper's numbers for one backdoored model, in percent; NaN where it gives none."""

    data: str
    poisoned: str
    """Our name of the training experiment that corresponds to it."""
    accuracy: float = math.nan
    """Before cleaning (Table 3)."""
    asr: float = math.nan
    """Before cleaning (Table 3)."""
    cleaned_accuracy: float = math.nan
    """The best at ASR <= 5 % after CleanCLIP (Table 2)."""
    change: float = math.nan
    """Relative change of accuracy at ASR <= 5 % (Table 1; Figure 4 for the ViT)."""


PAPER = (
    Published("CC3M", "train_cc3m_mmcl", 16.00, 99.88, 16.49),
    Published("CC3M", "train_cc3m_mmcl_ssl", 17.04, 99.03, 14.16),
    Published("CC6M", "train_mmcl", 23.76, 99.98, 24.04, 1.0),
    Published("CC6M", "train_mmcl_ssl", 23.86, 99.45, 13.05, -45.0),
    Published("CC6M", "train_finetune_mmcl", 60.30, 99.20, change=-17.0),
    Published("CC6M", "train_finetune_mmcl_ssl", 59.81, 90.24, change=-33.0),
    Published("CC6M", "train_vit_mmcl", change=-30.0),
    Published("CC6M", "train_vit_mmcl_ssl", change=-41.0),
    Published("CC6M", "train_label_mmcl", 22.96, 88.27, change=10.0),
    Published("CC6M", "train_label_mmcl_ssl", 23.09, 88.01, change=-16.0),
)


def paper() -> pd.DataFrame:
    """Return ``PAPER`` as a DataFrame: a line a backdoored model, a column a field."""
    return pd.DataFrame(PAPER, columns=list(Published._fields))
