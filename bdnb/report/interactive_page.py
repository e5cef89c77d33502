"""An interactive figure in a page: a chart's specification in, HTML out that needs no network.

All pages share one script (``script``), a static file of the book.
"""

import json
from collections.abc import Mapping
from hashlib import blake2b
from html import escape
from typing import Any

MIME = "application/vnd.vegalite.v5+json"
"""How a notebook keeps a chart: what JupyterLab draws by itself."""
SCRIPT = "vendor/vega.js"
"""Vega, Vega-Lite and Vega-Embed, among the book's static files."""
CSS = """
.bdnb-live { color: var(--pst-color-text-base, inherit); }
.cell_output .text_html:has(.bdnb-live) { background: none !important; padding: 0 !important; }
.bdnb-live form { display: flex; flex-wrap: wrap; gap: .4rem 1.6rem; margin-bottom: .6rem; }
.bdnb-live fieldset { border: 0; margin: 0; padding: 0; min-width: 0; }
.bdnb-live legend:empty { display: none; }
.bdnb-live legend { float: none; width: auto; margin: 0; font-size: inherit; font-weight: 600; }
.bdnb-live .vega-bind { display: inline-block; margin-right: .9em; }
.bdnb-live :focus-visible { outline: 2px solid #de8f05; outline-offset: 2px; }
.bdnb-live svg { max-width: 100%; height: auto; background: none; }
html[data-theme="dark"] .bdnb-live .mark-symbol path { filter: brightness(1.5); }
"""
DRAW = """
(root => {
  const spec = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
  spec.columns = root.clientWidth < 640 ? 1 : 2;
  const draw = () => vegaEmbed(root.querySelector(".chart"), spec,
    {mode: "vega-lite", actions: false, renderer: "svg"}).catch(console.error);
  if (window.vegaEmbed) return draw();
  const script = document.getElementById("bdnb-vega") || document.createElement("script");
  script.addEventListener("load", draw);
  if (script.id) return;
  script.id = "bdnb-vega";
  script.src = (document.documentElement.dataset.content_root || "") + "_static/%s";
  document.head.append(script);
})(document.getElementById("%s"));
"""


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
    data = json.dumps(given, ensure_ascii=False).replace("</", r"<\/")
    fields = "".join(
        f'<fieldset><legend>{escape(legend)}</legend><div id="{place}"></div></fieldset>'
        for legend, place in groups.items()
    )
    return (
        f'<style>{CSS}</style><div class="bdnb-live" id="{key}"><noscript>A script draws this '
        f'figure.</noscript><form aria-label="What the figure below shows">{fields}</form>'
        f'<div class="chart"></div><script type="application/json">{data}</script></div>'
        f"<script>{DRAW % (SCRIPT, key)}</script>"
    )


def script() -> str:
    """Return the JavaScript that draws a page's figures: Vega, Vega-Lite and Vega-Embed."""
    from vl_convert import javascript_bundle  # a book is built with it; a notebook needs it not

    return str(javascript_bundle())  # type: ignore[call-arg]
