"""The exploring notebook as its reader has it: JupyterLab in a real browser, run, moved, seen."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import pytest

from bdnb import sweep
from bdnb.runs import experiments
from tests.chrome import Chrome, in_browser

REPOSITORY = Path(__file__).parents[2]
TOKEN = "exploring"
NOTEBOOK = "document.querySelector('.jp-Notebook')"
IDLE = "document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status == 'idle'"
FIGURE = """
from bdnb.report import interactive_figure
from bdnb.runs.records import read_runs
interactive_figure.explorer(read_runs().query("stage == 'clean'"))
"""
"""The figure that a reader changes, as the cleaning notebook shows it."""

pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture
def lab(fresh: Path, tmp_path: Path) -> Iterator[str]:
    """JupyterLab on a copy of the notebook, in a tiny project that has its cleaning runs alone.

    Runs that other tests leave in the shared project would be offered, too: a model from elsewhere
    has no trigger, and then the slider for its size cannot be moved.
    """
    sweep.Sweep(experiments.of_file("tiny", "clean")).run()
    notebook = json.loads((REPOSITORY / "notebooks" / "explore.ipynb").read_text("utf-8"))
    cell = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    notebook["cells"].append(cell | {"id": "drawn", "source": FIGURE})
    (tmp_path / "explore.ipynb").write_text(json.dumps(notebook))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"ServerApp.port": port, "ServerApp.ip": "127.0.0.1", "ServerApp.allow_root": True}
    options |= {"IdentityProvider.token": TOKEN, "LabApp.expose_app_in_browser": True}
    options |= {"LabApp.news_url": None, "LabApp.check_for_updates_class": None}
    given = [f"--{name}={value}" for name, value in options.items() if value is not None]
    given += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    places = {"BDNB_HOME": str(fresh), "JUPYTER_CONFIG_DIR": str(tmp_path / "config")}
    places |= {"JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings")}
    places |= {"JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces")}
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", *given],
        cwd=tmp_path,
        env=os.environ | places,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield started(f"http://127.0.0.1:{port}")
    finally:
        server.terminate()
        server.wait(120)


def started(address: str) -> str:
    for _ in range(1500):
        with suppress(OSError):
            urlopen(f"{address}/api?token={TOKEN}", timeout=5).read()
            return address
        time.sleep(0.2)
    raise TimeoutError("JupyterLab did not start in five minutes")


def control(label: str) -> str:
    """JavaScript: the first control that is labelled so, together with its label."""
    labels = "[...document.querySelectorAll('.jupyter-widgets label')]"
    return f"{labels}.find(one => one.textContent == {label!r})?.parentElement"


def image(label: str) -> str:
    """JavaScript: the picture under the control that is labelled so; nothing while it is drawn."""
    return f"{control(label)}?.parentElement.querySelector('img')?.src"


def seen(page: Chrome, label: str) -> str:
    """The picture under a control, once no cell and no change is worked on any more."""
    page.wait(f"{IDLE} && {image(label)}")
    return page.js(image(label))


def move_right(page: Chrome, label: str) -> None:
    """Press the right arrow on a slider until its number is another.

    Once is not always enough: JupyterLab focuses the active cell when it gets round to it (after
    the last cell has run, too), and a key that is pressed after that does not reach the slider.
    """
    number = f"{control(label)}.querySelector('.widget-readout').textContent"
    before = page.js(number)
    for _ in range(20):
        page.js(f"{control(label)}.querySelector('.noUi-handle').focus()")
        page.press("ArrowRight", 39)
        with suppress(TimeoutError):
            page.wait(f"{number} != {before!r}", seconds=2)
            return
    raise TimeoutError(f"{label}: still at {before} after twenty presses of a key")


def type_into(page: Chrome, label: str, text: str) -> None:
    page.js(
        f"""(() => {{ const box = {control(label)}.querySelector('input'); box.value = {text!r};
        for (const kind of ['input', 'change'])
            box.dispatchEvent(new Event(kind, {{bubbles: true}})); }})()"""
    )


@in_browser
def test_a_reader_opens_runs_all_moves_a_slider_and_sees_the_figure_change(lab, tmp_path):
    with Chrome(tmp_path / "profile") as page:
        page.open(f"{lab}/lab/tree/explore.ipynb?token={TOKEN}")
        page.wait(f"!!window.jupyterapp && !!{NOTEBOOK}?.querySelector('.jp-Cell')")
        sessions = f"fetch('/api/sessions?token={TOKEN}').then(answer => answer.json())"
        page.wait(f"{sessions}.then(all => all[0]?.kernel.execution_state == 'idle')", seconds=300)
        page.wait(IDLE)
        run_all = "window.jupyterapp.commands.execute('notebook:run-all-cells')"
        page.js(f"void {run_all}.then(() => {{ window.ran = true }})")
        page.wait("window.ran", seconds=600)

        for slider in ("epoch", "size, pixels"):
            before = seen(page, slider)
            move_right(page, slider)
            page.wait(f"({image(slider)} ?? {before!r}) != {before!r}")

        before = seen(page, "caption")
        type_into(page, "caption", "a photo of a cat")
        page.wait(f"({image('caption')} ?? {before!r}) != {before!r}")
        page.wait("!!document.querySelector('.vega-embed :is(svg, canvas)')")
        assert page.js("document.querySelectorAll('.vega-bind input[type=range]').length") == 1
        assert not page.js("document.querySelector('.jp-RenderedText[data-mime-type*=stderr]')")
