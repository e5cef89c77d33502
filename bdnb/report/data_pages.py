"""What a data set holds, as its page shows it: numbers, images and captions."""

from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from bdnb.report import images, tables


def holds(data: Any) -> Styler:
    """What a data set holds: pairs, images, classes."""
    classes = len(data.about.get("classes") or data.labelled(data.side)[0].classnames)
    lines = [*data.counts.items(), ("classes", classes)]
    return tables.styled(pd.DataFrame(lines, columns=["part", "number"]))


def labelled(data: Any, name: str, *, count: int = 16) -> Figure | Markdown:
    """Images of a labelled set, each of another class, spread over the classes."""
    found = next((s for s in data.labelled(data.side) if s.name == name), None)
    if found is None:
        return Markdown(f"*This data set has no labelled set `{name}`.*")
    classes, first = np.unique(found.labels, return_index=True)
    chosen = np.linspace(0, len(classes) - 1, min(count, len(classes))).astype(int)
    index, titles = first[chosen], [found.classnames[label] for label in classes[chosen]]
    return images.contact_sheet(found.images[index], titles)


def captions(data: Any, *, count: int = 10) -> Styler:
    """Captions of the pairs to pre-train on, spread over them, with their keys."""
    pairs = data.pairs("train", data.side)
    index = np.linspace(0, len(pairs.keys) - 1, count).astype(int)
    lines = [(pairs.keys[i], pairs.captions[i]) for i in index]
    return tables.styled(pd.DataFrame(lines, columns=["key", "caption"]))
