"""What the pages about the code say is what the source says."""

from pathlib import Path

import pytest

from bdnb.report import code_pages

REPOSITORY = Path(__file__).parents[2]


def test_layers_are_the_contract_s(tmp_path):
    written = tmp_path / "pyproject.toml"
    contract = '[[tool.importlinter.contracts]]\ntype = "{}"\n'
    written.write_text(
        contract.format("forbidden")
        + contract.format("layers")
        + 'layers = ["c", "a : b", "x | y"]\n'
    )
    assert code_pages.layers(written) == [["c"], ["a", "b"], ["x", "y"]]


def test_every_module_is_on_one_page():
    text = "\n".join(code_pages.api_pages().values())
    files = [
        path.relative_to(REPOSITORY).with_suffix("").as_posix().replace("/", ".")
        for path in (REPOSITORY / "bdnb").rglob("*.py")
        if not path.name.startswith("_")
    ]
    assert sorted(files) == sorted(
        line.split()[-1] for line in text.splitlines() if line.startswith(".. automodule::")
    )


def test_the_main_path_comes_first():
    pages = list(code_pages.api_pages())
    assert pages[0] == "main"
    assert pages.index("defences") < pages.index("runtime") < pages.index("report")


@pytest.mark.parametrize("name", [*code_pages.MAIN, *code_pages.packages()])
def test_what_a_package_is_stands_in_a_sentence_that_the_page_shows(name):
    said = code_pages.about(name)
    assert said.endswith(".")
    assert len(said) > 30


def test_a_box_shows_what_its_package_says_of_itself():
    html = code_pages.diagram()
    assert html.count('class="package"') == sum(map(len, code_pages.layers()))
    assert f"<b>evaluate</b> {code_pages.about('evaluate')}" in html.replace("&#x27;", "'")
