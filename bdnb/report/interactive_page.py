"""An interactive figure in a page: a chart's specification in, HTML out that needs no network.

All pages share one script (``script``), a static file of the book.
"""

import json
from collections.abc import Mapping
from hashlib import blake2b
from html import escape
from pathlib import Path
from typing import Any

MIME = "application/vnd.vegalite.v5+json"
"""How a notebook keeps a chart: what JupyterLab draws by itself."""
SCRIPT = "vendor/vega.js"
"""Vega, Vega-Lite and Vega-Embed, among the book's static files."""


def html(spec: Mapping[str, Any]) -> str:
    """Return a page's HTML of a figure; its script is ``SCRIPT`` in the page's ``_static``."""
    digest = blake2b(json.dumps(spec).encode(), digest_size=5).hexdigest()
    key, groups, params = f"bdnb-live-{digest}", dict[str, str](), []
    for param in spec["params"]:
        bind = dict(param["bind"])
        legend, _, words = bind["name"].rpartition(": ")
        groups.setdefault(legend, f"{key}-{len(groups)}")
        bind |= {"element": f"#{groups[legend]}", "name": words}
        params.append(param | {"bind": bind})
    given = {name: value for name, value in spec.items() if name != "$schema"} | {"params": params}
    data = json.dumps(given, ensure_ascii=False, separators=(",", ":")).replace("</", r"<\/")
    fields = "".join(
        f'<fieldset><legend>{escape(legend)}</legend><div id="{place}"></div></fieldset>'
        for legend, place in groups.items()
    )
    css, draw = (Path(__file__).with_suffix(kind).read_text("utf-8") for kind in (".css", ".js"))
    return (
        f'<style>\n{css}</style><div class="bdnb-live" id="{key}"><noscript>A script draws this '
        f'figure.</noscript><form aria-label="What the figure below shows">{fields}</form>'
        f'<div class="chart"></div><script type="application/json">{data}</script></div>'
        f"<script>\n{draw % (SCRIPT, key)}</script>"
    )


def script() -> str:
    """Return the JavaScript that draws a page's figures: Vega, Vega-Lite and Vega-Embed."""
    from vl_convert import javascript_bundle  # a book is built with it; a notebook needs it not

    return str(javascript_bundle())  # type: ignore[call-arg]
