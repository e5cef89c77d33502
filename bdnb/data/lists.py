"""Which rows of a web list are trained on and which clean the model: by seed and URL, no URL twice.

In: a .tsv of CC3M (caption, url) or CC12M (url, caption), with or without a header. Out: a table
of url and caption for each split, in the seed's order.
"""

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from bdnb.runtime.errors import ConfigError

SAMPLE = 100
"""Rows that tell which column is the URL."""

WEB = ("http://", "https://")


def columns(path: Path) -> tuple[int, bool]:
    """Return which column of a list is the URL, and whether it has a header. Errors: ConfigError.

    So a list that is missing or something else is found before any work.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such list; expected a .tsv of url and caption")
    if path.stat().st_size:
        rows = _table(path, SAMPLE)
        head = rows.iloc[0].str.strip().str.lower().tolist()
        if sorted(head) == ["", "caption", "url"]:
            return head.index("url"), True
        whole = rows[(rows[1] != "") & (rows[2] == "")]
        shares = [int(whole[i].str.strip().str.startswith(WEB).sum()) for i in (0, 1)]
        if min(shares) <= 0.5 * max(shares) and max(shares):
            return int(np.argmax(shares)), False
    raise ConfigError(
        f"{path}: cannot tell which column is the URL: expected two columns with a tab between, "
        "url and caption (CC12M) or caption and url (CC3M)"
    )


def _table(path: Path, rows: int | None = None) -> pd.DataFrame:
    """The lines of a list as columns 0, 1 and, of lines that are no pair, 2; "" where missing."""
    return pd.read_csv(
        path,
        sep="\t",
        names=range(3),
        nrows=rows,
        dtype=str,
        quoting=csv.QUOTE_NONE,
        keep_default_na=False,
        on_bad_lines="skip",
        skip_blank_lines=False,
        lineterminator="\n",
        encoding_errors="replace",
    )


def pairs(path: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the pairs of a list, each URL once (url, caption), and counts for the report.

    Takes about 300 bytes a row and its text: 4 GB for CC12M. Errors: ConfigError.
    """
    place, header = columns(path)
    with path.open("rb") as file:
        lines = sum(1 for _ in file) - header
    table = _table(path).iloc[int(header) :]
    found = pd.DataFrame(
        {"url": table[place].str.strip(), "caption": table[1 - place].str.strip()}
    )[table[2] == ""]
    found = found[found["url"].str.startswith(WEB) & (found["caption"] != "")]
    once = found.drop_duplicates("url")
    counts = {"rows": lines, "malformed": lines - len(found), "twice": len(found) - len(once)}
    return once, counts


def choose(
    path: Path, *, train: int, clean: int, spare: float, seed: int
) -> tuple[dict[str, pd.DataFrame], dict[str, int]]:
    """Return the rows of ``train`` and ``clean``, no URL in both, and counts for the report.

    train, clean: pairs; 0 to train on: all the rest. spare: share of further rows of each.
    The seed's first rows are trained on, its last ones clean, so that neither moves when there
    are more of the other. Errors: ConfigError for a list that cannot be read or is too short.
    """
    table, counts = pairs(path)
    cleaning = int(clean * (1 + spare))
    training = int(train * (1 + spare)) or max(0, len(table) - cleaning)
    if training + cleaning > len(table) or not training:
        raise ConfigError(
            f"{path}: {len(table)} usable rows; asked for {training} to train on and {cleaning} "
            f"to clean with (pairs={train}, clean={clean}, spare={spare:g})"
        )
    urls = table["url"].to_numpy(object)
    hashes = pd.util.hash_array(urls, hash_key=f"{seed % 10**16:016d}", categorize=False)
    order = np.argsort(hashes, kind="stable")
    chosen = {"train": order[:training], "clean": order[::-1][:cleaning]}
    return {name: table.iloc[rows] for name, rows in chosen.items()}, counts
