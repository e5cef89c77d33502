"""Why ours differ from the paper: paragraphs that somebody wrote, their numbers filled in.

In: ``book/results/<scale>/why.md``, a section a conclusion, with placeholders such as
``{C1.ours:.0f}``, and the verdicts that they are filled in from.
"""

import re
from typing import Any

import pandas as pd

from bdnb.analysis import conclusions
from bdnb.runs import shipped
from bdnb.runtime.errors import ConfigError

SECTION = re.compile(r"^## (C\d+)\s*$", re.MULTILINE)
NUMBERS = ("ours", "low", "high", "at_5", "n")


def paragraphs(scale: str, judged: pd.DataFrame) -> dict[str, str]:
    """Return what is written on each conclusion, by its id; nothing for a scale without the file.

    judged: of ``conclusions.verdicts``; only conclusions that it has are returned. Errors:
    ConfigError for a section that is no conclusion's or stands there twice, and for a placeholder
    that is no number of a verdict.
    """
    path = shipped.folder(scale) / "why.md"
    if not path.is_file():
        return {}
    _, *parts = SECTION.split(path.read_text(encoding="utf-8"))
    known = {conclusion.id for conclusion in conclusions.CONCLUSIONS}
    found: dict[str, str] = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        if name not in known or name in found:
            raise ConfigError(f"{path}: section {name}: expected each of C0 to C15 once at most")
        found[name] = text.strip()
    lines = judged[["id", *NUMBERS]].itertuples(index=False)
    there: dict[str, Any] = {str(line.id): line for line in lines}
    return {name: _filled(text, there) for name, text in found.items() if name in there}


def _filled(text: str, numbers: dict[str, Any]) -> str:
    try:
        return text.format_map(numbers)
    except (KeyError, AttributeError, ValueError, IndexError) as error:
        raise ConfigError(
            f"why.md: {text[:60]!r}...: {error!r}: expected placeholders such as {{C1.ours:.0f}}"
        ) from error
