"""The book's page on faults, from what the cases met and what the fuzzer counted.

``python -m tests.faults.page`` tries every case, then writes ``book/results/fault_cases.json`` and
``book/faults.md``. The suite holds both against what it meets itself.
"""

import json
import os
import re
import shutil
import tempfile
from itertools import groupby
from pathlib import Path
from typing import Any

from bdnb.data import datasets
from tests.faults import cases

REPOSITORY = Path(__file__).parents[2]
CASES = REPOSITORY / "book" / "results" / "fault_cases.json"
COUNTS = REPOSITORY / "book" / "results" / "faults.json"
PAGE = REPOSITORY / "book" / "faults.md"

HEAD = """\
# When something is wrong

A wrong parameter, a damaged file, a checkpoint or plug-in that cannot be used: it is refused
before work starts where it can be known then, in a few lines that say what, where and what to
do. Nothing is guessed in its place. On a command line and under papermill such an error ends
with status 2; the traceback of a run that failed is in its folder, `error.log`.

Of {cases} wrong inputs below, each tried by the test suite, the longest message is {longest};
{tracebacks} print a Python traceback, and {left} leave a file behind.

## Inputs made at random

A fuzzer makes parameter files, edits records of runs and shards of pairs byte by byte, and
looks whether each was used and right, or refused or left out with a word. Content that a file
has no checksum of, such as a letter of a caption, it may change: only the other samples must
then be as they were.

| inputs | tried | used | refused clearly | crashed | passed over in silence |
|---|--:|--:|--:|--:|--:|
{counts}

`python -m tests.faults.fuzz` goes on until Ctrl-C.
"""
NOTE = {
    "values": "Values of parameters",
    "before work starts": "What does not fit together",
    "parameter files": "Parameter files",
    "commands": "Commands",
    "records": "Records of runs",
    "checkpoints": "Checkpoints of one's own",
    "plug-ins": "Plug-ins",
    "a run under way": "Plug-ins that break their promise in a run, which is then left unfinished",
}


def line(case: cases.Case, met: cases.Met, home: Path) -> dict[str, Any]:
    """A case as the page has it: nothing in it depends on the machine."""
    told = [text.replace(f"{home.resolve()}/", "").replace(f"{home}/", "") for text in met.printed]
    told = [re.sub(r"-[0-9a-f]{10}\b", "-…", text) for text in told]
    told = [re.sub(r"(or as safetensors: ).*", r"\1…", text) for text in told]  # torch's words
    kind = "a run under way" if case.how == "run" else case.kind
    return {
        "class": kind,
        "given": case.name,
        "file": case.prepare.holds if case.prepare else "",
        "printed": told,
        "lines": len(told),
        "status": met.status,
        "left": sorted({re.sub(r"_[0-9a-f]{20}\b", "_…", Path(path).name) for path in met.left}),
    }


def measure() -> list[dict[str, Any]]:
    """Try every case, each in a project of its own."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        (data / ".npm").parent.mkdir()
        (data / ".npm").symlink_to(REPOSITORY / "data" / ".npm")
        for number, case in enumerate([*cases.CASES, *cases.BEGUN]):
            home = Path(folder) / str(number)
            shutil.copytree(REPOSITORY / "tests" / "params", home / "params")
            shutil.copytree(REPOSITORY / "params" / "quick", home / "params" / "quick")
            (home / "data").symlink_to(data)
            os.environ["BDNB_HOME"] = str(home)
            os.chdir(home)
            datasets.dataset("tiny")
            if case.how == "run":
                cases.met(cases.Case("", "train", {}, ""), home)
            met = cases.met(case, home)
            cases.forget()
            found.append(line(case, begun(met) if case.how == "run" else met, home))
    return found


def begun(met: cases.Met) -> cases.Met:
    """What is said of a run that began: its last word, without bars of progress."""
    told = [text for text in met.printed if "mine.py" in text]
    return cases.Met(told[-1:], met.status, [path for path in met.left if "-mine-" in path])


def text(found: list[dict[str, Any]], counts: dict[str, dict[str, int]]) -> str:
    """The page."""
    numbers = (
        f"| {name} | " + " | ".join(f"{own[kind]:,}" for kind in own) + " |"
        for name, own in counts.items()
    )
    longest = max(one["lines"] for one in found)
    parts = [
        HEAD.format(
            cases=len(found),
            longest=f"{longest} line{'s' * (longest > 1)} long",
            tracebacks=sum("Traceback" in " ".join(one["printed"]) for one in found),
            left=sum(bool(one["left"]) for one in found),
            counts="\n".join(numbers),
        )
    ]
    for kind, own in groupby(sorted(found, key=lambda one: list(NOTE).index(one["class"])), _class):
        tried = list(own)
        lines = [
            f"## {NOTE[kind]}",
            "",
            f":::{{dropdown}} {len(tried)} inputs",
            "",
            "| given | printed | status | left on disk |",
            "|---|---|---|---|",
        ]
        for one in tried:
            file = f"; there: {one['file']}" if one["file"] else ""
            cells = [
                cases.code(one["given"]) + file,
                cases.code(" ".join(one["printed"])),
                one["status"],
                ", ".join(one["left"]) or "nothing",
            ]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
        parts.append("\n".join([*lines, ":::"]) + "\n")
    return "\n".join(parts)


def _class(one: dict[str, Any]) -> str:
    return str(one["class"])


def written() -> list[dict[str, Any]]:
    """The cases as they are committed."""
    found: list[dict[str, Any]] = json.loads(CASES.read_text("utf-8"))
    return found


def main() -> None:
    """Try every case and write both files."""
    found = measure()
    CASES.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    PAGE.write_text(text(found, json.loads(COUNTS.read_text("utf-8"))), "utf-8")


if __name__ == "__main__":
    main()
