"""`make book` at the tiny scale: every run, every notebook, the pages, and a second call."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

SCALE = ["--config", "scale=tiny", "results=0"]

pytestmark = pytest.mark.slow


def snakemake(home: Path, *given: str) -> subprocess.CompletedProcess[str]:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [
            BIN / "snakemake",
            "-s",
            "notebooks/Snakefile",
            "--cores",
            "2",
            *(given if "--config" in given else (*given, *SCALE)),
        ],
        env=os.environ | {"BDNB_HOME": str(home), "PATH": path},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def home(tiny_home, tmp_path_factory):
    """A copy of the repository, as far as the workflow looks, with the tiny parameters."""
    made = tmp_path_factory.mktemp("workflow")
    for name in ("book", "notebooks"):
        shutil.copytree(REPOSITORY / name, made / name)
    shutil.copytree(REPOSITORY / "params", made / "params")
    shutil.copytree(REPOSITORY / "tests" / "params" / "tiny", made / "params" / "tiny")
    (made / "bdnb").symlink_to(REPOSITORY / "bdnb")
    (made / "data").mkdir()
    (made / "data" / ".npm").symlink_to(REPOSITORY / "data" / ".npm")
    return made


def test_one_call_makes_the_whole_book_and_a_second_has_nothing_to_do(home):
    done = snakemake(home)
    assert done.returncode == 0, done.stderr[-3000:]
    page = home / "build" / "tiny" / "html" / "clean.html"
    assert "<svg" in page.read_text() or "_images" in page.read_text()
    again = snakemake(home)
    assert "Nothing to be done" in again.stdout + again.stderr


def test_runs_and_data_that_were_removed_are_made_again(home):
    names = ("runs", "data")
    kept = [(home / name).rename(home / f"kept_{name}") for name in names]
    try:
        planned = snakemake(home, "-n")
    finally:
        for folder, name in zip(kept, names, strict=True):
            folder.rename(home / name)
    shown = planned.stdout + planned.stderr
    assert planned.returncode == 0, shown[-3000:]
    missing = [r for r in ("data:", "train:", "clean_", "book:") if f"rule {r}" not in shown]
    assert not missing, shown[-3000:]


def test_a_page_that_is_gone_is_made_again_from_the_rows_there_are(home):
    written = {path: path.stat().st_mtime for path in (home / "runs").glob("*/rows.jsonl")}
    (home / "build" / "tiny" / "notebooks" / "summary.ipynb").unlink()
    done = snakemake(home, "build/tiny/notebooks/summary.ipynb")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "rule train" not in done.stderr
    assert "rule clean" not in done.stderr
    assert {path: path.stat().st_mtime for path in (home / "runs").glob("*/rows.jsonl")} == written


def test_shipped_rows_become_pages_without_a_run_being_made(home):
    """Those of the finished runs of the tests above, in a copy that has no runs of its own."""
    shutil.rmtree(home / "book" / "results", ignore_errors=True)
    pack = [sys.executable, "-m", "bdnb.runs.shipped", "pack", "tiny"]
    subprocess.run(pack, cwd=home, env=os.environ | {"BDNB_HOME": str(home)}, check=True)
    toc = home / "book" / "_toc.yml"
    toc.write_text(toc.read_text().replace("rows: effect+laptop", "rows: gone+tiny"))
    kept = (home / "runs").rename(home / "kept")
    pages = [f"build/tiny/notebooks/shipped/{n}.ipynb" for n in ("clean", "summary")]
    try:
        done = snakemake(home, *pages, "--config", "scale=tiny")
    finally:
        shutil.rmtree(home / "runs", ignore_errors=True)
        kept.rename(home / "runs")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "rule train" not in done.stderr
    assert "rule clean" not in done.stderr
    assert all((home / page).is_file() for page in pages)
    built = ["bdnb.report.book", "--notebooks", "build/tiny/notebooks", "--out", "build/tiny"]
    html = subprocess.run(
        [sys.executable, "-m", *built],
        cwd=home,
        env=os.environ | {"BDNB_HOME": str(home)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert html.returncode == 0, html.stderr[-3000:] + html.stdout[-3000:]
    page = (home / "build" / "tiny" / "html" / "clean.html").read_text()
    assert "Our runs (tiny)" in page
    assert "Your runs (tiny)" in page


def test_a_run_that_fails_does_not_stop_the_others_and_is_named(home):
    text = (home / "params" / "tiny" / "clean.yaml").read_text()
    broken = home / "params" / "tiny" / "clean_broken.yaml"
    broken.write_text(
        text.replace("experiment: clean", "experiment: clean_broken")
        + "defence: [shrink_perturb, cleanclip]\noptions: {shrink: 1}\n"
    )
    try:
        done = snakemake(home, "--keep-going", "runs", "--config", "scale=tiny")
    finally:
        broken.unlink()
    assert done.returncode != 0
    assert "no option 'shrink'" in done.stderr
    names = [path.parent.name for path in (home / "runs").glob("*/finished")]
    assert any("shrink_perturb" in name for name in names)


def test_what_would_wait_or_end_in_vain_is_refused_at_once(home, monkeypatch):
    assert "no cores to work on" in snakemake(home, "--cores", "0").stderr
    monkeypatch.setenv("BDNB_RUNS", str(home / "elsewhere"))
    done = snakemake(home)
    assert done.returncode
    assert "BDNB_RUNS is set" in done.stderr


def test_after_a_kill_make_book_says_what_frees_the_folder(home):
    """A kill leaves snakemake's locks: a folder of files that list what is being made."""
    lock = home / ".snakemake" / "locks" / "0.output.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("build/tiny/notebooks/plan.ipynb\n")

    (home / ".venv").symlink_to(BIN.parent)

    def make(target: str) -> subprocess.CompletedProcess[str]:
        makefile = ["make", "-f", str(REPOSITORY / "Makefile"), "-o", ".venv/.installed"]
        return subprocess.run(
            [*makefile, "SCALE=tiny", target],
            env=os.environ | {"BDNB_HOME": str(home)},
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
        )

    refused = make("book")
    assert refused.returncode
    assert "make unlock" in refused.stdout
    assert make("unlock").returncode == 0
    assert not lock.exists()
