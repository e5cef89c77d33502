"""The paper's conclusions as a scoreboard: verdicts in, HTML out.

A line a conclusion: mark and word, statement, the paper's number, ours, and the seeds as dots on
one axis: points beyond the edge that decides, to the right those that speak for the claim. Folded:
why ours differ from the paper, ``book/results/<scale>/why.md``, a section a conclusion, whose
placeholders such as ``{C1.ours:.0f}`` are filled in.
"""

import re
from collections.abc import Collection, Hashable, Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd
from IPython.display import HTML, Markdown

from bdnb.analysis import conclusions
from bdnb.analysis.verdict_rules import FAILS, HOLDS, MUTE, OPEN, Finding
from bdnb.report import studies
from bdnb.report.style import between
from bdnb.runs import results, shipped
from bdnb.runtime.errors import ConfigError

MARKS = {HOLDS: ("✓", "holds"), FAILS: ("✗", "fails"), OPEN: ("?", "open"), MUTE: ("–", "mute")}
"""Verdict -> its mark and its class in the pages' style sheet."""
MANY = {HOLDS: "hold", FAILS: "do not hold", OPEN: "are not decided", MUTE: "cannot be told here"}
ONE = MANY | {HOLDS: "holds", FAILS: "does not hold", OPEN: "is not decided"}
"""Verdict -> how it reads of several conclusions, and of one."""
PAGES = {
    "clean": range(5), "other_models": range(5, 8), "stopping": (8,), "nonideal": (9,),
    "ablations": range(10, 16),
}  # fmt: skip
"""Page -> the numbers of the conclusions that it is about."""
SECTION = re.compile(r"^## (C\d+)\s*$", re.MULTILINE)
NUMBERS = ("ours", "low", "high", "at_5", "n")
WIDE, MOST = 110, 50
"""Pixels of the axis, and the points beyond an edge at which it ends on either side."""


def judged(scales: Sequence[str]) -> pd.DataFrame:
    """Return every conclusion's verdict, each from the scale that has most seeds for it.

    The column scale says which; of several the first.
    """
    made = []
    for scale in scales:
        train, clean = results.rows_of_scale(scale)
        made.append(conclusions.verdicts(clean, train).assign(scale=scale))
    lines = zip(*(frame.to_dict("records") for frame in made), strict=True)
    return pd.DataFrame([max(own, key=lambda one: one["n"]) for own in lines])


def of_study(rows: pd.DataFrame, name: str) -> HTML | Markdown:
    """Return the line of a study's conclusion, from its rows and plain CleanCLIP's."""
    plain = studies.main_rows(rows, {conclusions.WEAK, conclusions.STRONG})
    both = pd.concat([rows, plain], ignore_index=True)
    once = both.drop_duplicates(["run", "epoch", "poisoned", "study"])
    made = conclusions.verdicts(once)
    return board(made[made["id"] == studies.of(name).conclusion], links=False)


def of_models(rows: pd.DataFrame) -> HTML | Markdown:
    """Return the lines of C0 to C7 that are about the backdoored models of rows of cleaning runs.

    A conclusion without any row among these is left out.
    """
    made = only(conclusions.verdicts(rows), range(8))
    there = [any(len(own.values) for own in found) for found in made["findings"]]
    return board(made[there], links=False)


def tally(made: pd.DataFrame) -> Markdown:
    """Return how many conclusions have each verdict, and which."""
    words = made["verdict"].str.partition(" (")[0]
    said = []
    for verdict, (mark, _) in MARKS.items():
        ids = made.loc[words == verdict, "id"]
        if len(ids):
            reads = ONE if len(ids) == 1 else MANY
            said.append(f"{mark} **{len(ids)} {reads[verdict]}** ({', '.join(ids)})")
    none = "" if (words == HOLDS).any() else "**none holds**; "
    return Markdown(f"Of the paper's {len(made)} conclusions: {none}{'; '.join(said)}.")


def board(made: pd.DataFrame, *, links: bool = True) -> HTML | Markdown:
    """Return verdicts as lines to read, and what is written on each, folded.

    made: of ``conclusions.verdicts``, perhaps with the column scale. links: to the page that each
    is about; without them on that page itself.
    """
    if made.empty:
        return Markdown("None of the paper's conclusions is about these models.")
    why = {
        str(scale): paragraphs(str(scale), own)
        for scale, own in (made.groupby("scale") if "scale" in made else ())
    }
    lines = [_line(one, why, links) for one in made.to_dict("records")]
    head = (
        '<div class="verdict head"><span></span><span>conclusion</span><span>the paper</span>'
        "<span>ours (95 % interval)</span><span>against | for</span></div>"
    )
    return HTML(f'<div class="scoreboard">{head}{"".join(lines)}</div>')


def _line(one: Mapping[Hashable, Any], why: Mapping[str, Mapping[str, str]], links: bool) -> str:
    verdict, _, reason = str(one["verdict"]).partition(" (")
    mark, kind = MARKS[verdict]
    page = next(name for name, ids in PAGES.items() if int(one["id"][1:]) in ids)
    link = f' <a href="{page}.html">page</a>' if links else ""
    found = _deciding(one)
    scale = one.get("scale", "")
    text = why.get(scale, {}).get(one["id"], "")
    claims = "".join(f"<li>{escape(said)}</li>" for said in one["evidence"].split("; ") if said)
    more = f"{f'<p>{escape(text)}</p>' * bool(text)}<ul>{claims}</ul><p>{escape(one['rule'])}.</p>"
    return (
        f'<div class="verdict {kind}"><span class="word">{mark} {verdict}</span>'
        f"<span><b>{one['id']}</b> {escape(one['statement'])}{link}</span>"
        f'<span data-name="the paper">{escape(one["paper"])}</span>'
        f'<span data-name="ours">{escape(_number(found))}'
        f"{f'; scale {scale}' * bool(scale)}</span>{_dots(found)}"
        f"<details><summary>{escape(reason.rstrip(')')) or 'more'}</summary>{more}</details></div>"
    )


def _dots(found: Finding) -> str:
    """A claim's seeds beside its edge, and their mean as a bar, as SVG."""
    beyond = found.beyond

    def place(points: float) -> float:
        return WIDE / 2 + min(max(points, -MOST), MOST) * (WIDE / 2 - 6) / MOST

    dots = "".join(f'<circle cx="{place(x):.1f}" cy="11" r="3.5"/>' for x in beyond)
    mean = f'<rect x="{place(beyond.mean()) - 1:.1f}" y="3" width="2.5" height="16"/>'
    label = ", ".join(f"{x:+.1f}" for x in beyond) or "no seeds"
    return (
        f'<svg role="img" aria-label="points beyond the edge, by seed: {label}" width="{WIDE}" '
        f'height="22" viewBox="0 0 {WIDE} 22"><path d="M0 11H{WIDE}M{WIDE / 2} 0V22"/>'
        f"{dots}{mean * bool(len(beyond))}</svg>"
    )


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


def only(made: pd.DataFrame, numbers: Collection[int]) -> pd.DataFrame:
    """Return the conclusions of these numbers. made: of ``conclusions.verdicts``."""
    return made[made["id"].str[1:].astype(int).isin(numbers)]


def answer(made: pd.DataFrame) -> Markdown:
    """Return a sentence a conclusion: its verdict in bold, and our number."""
    lines = []
    for one in made.to_dict("records"):
        mark = MARKS[one["verdict"].partition(" (")[0]][0]
        lines.append(
            f"- {mark} **{one['statement']}: {one['verdict']}.** {_number(_deciding(one))}"
        )
    return Markdown("\n".join(lines))


def _deciding(one: Mapping[Hashable, Any]) -> Finding:
    """The claim that a conclusion's verdict comes from: the first one where all hold."""
    found: Sequence[Finding] = one["findings"]
    return next((own for own in found if own.verdict == one["verdict"]), found[0])


def _number(found: Finding) -> str:
    """The number of a claim, with its interval and seeds; a dash for none."""
    spread = found.spread
    if not spread.n:
        return "–"
    number = f"{spread.mean:.1f} {found.claim.unit}{between(spread)}"
    return f"{found.claim.quantity}: {number}, n = {spread.n}"
