"""Why ours differ from the paper: a verdict's evidence, and a paragraph that somebody wrote on it.

In: rows of a scale and ``book/results/<scale>/why.md``, a section a conclusion, its numbers as
placeholders such as ``{C1.ours:.0f}``. Out: Markdown, the numbers filled in from the verdicts.
"""

import re
from collections.abc import Hashable
from types import SimpleNamespace
from typing import Any

import pandas as pd
from IPython.display import Markdown

from bdnb.analysis import conclusions
from bdnb.analysis.verdict_rules import HOLDS
from bdnb.runs import shipped
from bdnb.runtime.errors import ConfigError

SECTION = re.compile(r"^## (C\d+)\s*$", re.MULTILINE)


def paragraphs(scale: str) -> dict[str, str]:
    """What is written on each conclusion, by its id; nothing for a scale without the file.

    Errors: ConfigError for a section that is no conclusion's, or that stands there twice.
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
    return found


def differences(judged: pd.DataFrame, scale: str) -> Markdown:
    """Every conclusion with rows that does not simply hold: its numbers, and why, if written.

    judged: of ``conclusions.verdicts``.
    Errors: ConfigError for a placeholder that is no number of a verdict.
    """
    said, texts = [], paragraphs(scale)
    for line in judged[(judged["verdict"] != HOLDS) & (judged["n"] > 0)].to_dict("records"):
        said.append(_evidence(line))
        if line["id"] in texts:
            said.append(filled(texts[line["id"]], judged))
    if not said:
        return Markdown("*No conclusion that has rows here differs from the paper.*")
    return Markdown("\n\n".join(said))


def filled(text: str, judged: pd.DataFrame) -> str:
    """A paragraph with its placeholders filled in: ``{C1.ours:.0f}``, also low, high, at_5 and n.

    judged: of ``conclusions.verdicts``. Errors: ConfigError for another placeholder.
    """
    numbers = {
        line["id"]: SimpleNamespace(
            **{key: line[key] for key in ("ours", "low", "high", "at_5", "n")}
        )
        for line in judged.to_dict("records")
    }
    try:
        return text.format_map(numbers)
    except (KeyError, AttributeError, ValueError, IndexError) as error:
        raise ConfigError(
            f"why.md: {text[:60]!r}...: {error!r}: expected placeholders such as {{C1.ours:.0f}}"
        ) from error


def _evidence(line: dict[Hashable, Any]) -> str:
    return f"**{line['id']}, {line['verdict']}.** {line['statement']}. Here: {line['evidence']}."
