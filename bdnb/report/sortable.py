"""A table that a reader sorts and filters, offline: a frame in, HTML with its own script out.

Without a script it is a whole table all the same.
"""

from collections.abc import Sequence
from hashlib import blake2b
from html import escape

import pandas as pd
from IPython.display import HTML

from bdnb.analysis.metrics import Spread
from bdnb.report.tables import cell

CSS = """
.bdnb-sort { overflow-x: auto; }
.bdnb-sort label { margin-right: 1.2em; }
.bdnb-sort table { font-size: .75em; line-height: 1.3; }
.bdnb-sort :is(td, th) { padding: .3em .4em; vertical-align: top; }
.bdnb-sort th button { all: unset; cursor: pointer; font-weight: 600; }
.bdnb-sort th button:focus-visible { outline: 2px solid #de8f05; }
.bdnb-sort th[aria-sort=ascending] button::after { content: " \\25B2"; }
.bdnb-sort th[aria-sort=descending] button::after { content: " \\25BC"; }
.bdnb-sort td.number { text-align: right; }
.bdnb-sort th { font-size: .92em; }
"""
SCRIPT = """
(root => {
  const body = root.querySelector("tbody"), rows = [...body.rows];
  const heads = [...root.querySelectorAll("th")], menus = [...root.querySelectorAll("select")];
  const key = (row, i) => row.cells[i].dataset.sort;
  heads.forEach((head, i) => head.firstChild.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") !== "descending";
    heads.forEach(one => one.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const numbers = rows.every(row => key(row, i) === "" || !isNaN(key(row, i)));
    rows.sort((a, b) => {
      const [x, y] = [key(a, i), key(b, i)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return (numbers ? x - y : x.localeCompare(y)) * (down ? -1 : 1);
    });
    body.append(...rows);
  }));
  menus.forEach(menu => menu.addEventListener("change", () => rows.forEach(row =>
    row.hidden = menus.some(m => m.value && key(row, m.dataset.column) !== m.value))));
})(document.getElementById("%s"));
"""


def table(frame: pd.DataFrame, choose: Sequence[str] = ()) -> HTML:
    """Return a frame as a table whose columns sort at a click; nothing stays last.

    Values: text, whole numbers, others (one decimal; NaN a dash), or ``Spread`` (sorted by the
    mean). choose: columns that get a menu of their values.
    """
    names = list(frame)
    lines = frame.itertuples(index=False, name=None)
    text = "".join(f"<tr>{''.join(map(_cell, line))}</tr>" for line in lines)
    heads = "".join(f'<th scope="col"><button>{escape(str(n))}</button></th>' for n in names)
    menus = "".join(_menu(name, names.index(name), frame[name]) for name in choose)
    key = f"bdnb-sort-{blake2b((heads + text).encode(), digest_size=5).hexdigest()}"
    return HTML(
        f'<style>{CSS}</style><div class="bdnb-sort" id="{key}">{menus}<table>'
        f"<thead><tr>{heads}</tr></thead><tbody>{text}</tbody></table></div>"
        f"<script>{SCRIPT % key}</script>"
    )


def _cell(value: object) -> str:
    mean = value.mean if isinstance(value, Spread) else value
    if isinstance(mean, float) and pd.isna(mean):
        return '<td class="number" data-sort="">–</td>'
    if isinstance(value, str):
        return f'<td data-sort="{escape(value)}">{escape(value)}</td>'
    if isinstance(value, Spread):
        shown = cell(value)
    else:
        shown = f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"
    return f'<td class="number" data-sort="{mean}">{escape(shown)}</td>'


def _menu(name: str, column: int, values: pd.Series) -> str:
    options = "".join(f"<option>{escape(str(v))}</option>" for v in values.unique())
    return (
        f'<label>{escape(name)} <select data-column="{column}"><option value="">all</option>'
        f"{options}</select></label>"
    )
