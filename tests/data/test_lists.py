"""Rows are chosen by seed and URL, each URL once, and no row trains and cleans."""

from pathlib import Path

import pytest

from bdnb.data import lists
from bdnb.runtime.errors import ConfigError


def tsv(path: Path, count: int, *, first: str = "url", header: bool = False) -> Path:
    pairs = [(f"http://a.example/{i}.jpg", f'caption "{i}", as it is: é') for i in range(count)]
    lines = [pair if first == "url" else pair[::-1] for pair in pairs]
    if header:
        lines.insert(0, ("url", "caption") if first == "url" else ("caption", "url"))
    path.write_text("".join("\t".join(line) + "\n" for line in lines), "utf-8")
    return path


def chosen(source: Path, **values: object) -> tuple[list[str], list[str]]:
    given = {"train": 60, "clean": 20, "spare": 0.0, "seed": 0} | values
    found, _ = lists.choose(source, **given)
    return found["train"]["url"].tolist(), found["clean"]["url"].tolist()


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("first", ["url", "caption"])
def test_both_lists_column_orders_are_told_apart(tmp_path: Path, first: str, header: bool) -> None:
    found, counts = lists.pairs(tsv(tmp_path / "a.tsv", 5, first=first, header=header))
    assert list(found.itertuples(index=False, name=None)) == [
        (f"http://a.example/{i}.jpg", f'caption "{i}", as it is: é') for i in range(5)
    ]
    assert counts == {"rows": 5, "malformed": 0, "twice": 0}


def test_a_seed_s_rows_are_the_same_on_every_machine(tmp_path: Path) -> None:
    train, clean = chosen(tsv(tmp_path / "a.tsv", 9), train=3, clean=2)
    assert [url[-5] for url in train + clean] == list("25361")


def test_quotes_returns_missing_words_and_bad_bytes_are_text_as_any_other(tmp_path: Path) -> None:
    captions = [b'"', b'a "b', b"NA", b"null", b"one\rtwo", b"\xe9", b"nan", b"#", b"x" * 5000]
    lines = [b"http://a/%d\t%s\r\n" % line for line in enumerate(captions)]
    (tmp_path / "a.tsv").write_bytes(b"".join(lines))
    found, counts = lists.pairs(tmp_path / "a.tsv")
    assert counts == {"rows": 9, "malformed": 0, "twice": 0}
    assert found["caption"].tolist() == [c.decode("utf-8", "replace") for c in captions]


def test_a_subset_is_the_seed_s_and_the_cleaning_pairs_are_of_other_urls(tmp_path: Path) -> None:
    source = tsv(tmp_path / "a.tsv", 100)
    train, clean = chosen(source)
    assert (len(train), len(clean)) == (60, 20)
    assert not set(train) & set(clean)
    assert chosen(source) == (train, clean)
    other = chosen(source, seed=1)
    assert set(other[0]) != set(train)
    assert train != sorted(train)


def test_more_of_one_split_moves_nothing_of_the_other(tmp_path: Path) -> None:
    source = tsv(tmp_path / "a.tsv", 100)
    train, clean = chosen(source)
    more, same = chosen(source, train=70)
    assert more[:60] == train
    assert same == clean
    same, more = chosen(source, clean=30)
    assert same == train
    assert more[:20] == clean
    spared = chosen(source, spare=0.2)
    assert (len(spared[0]), len(spared[1])) == (72, 24)


def test_all_that_are_left_are_trained_on(tmp_path: Path) -> None:
    train, clean = chosen(tsv(tmp_path / "a.tsv", 100), train=0)
    assert (len(train), len(clean)) == (80, 20)
    assert len({*train, *clean}) == 100


def test_urls_that_come_again_and_lines_that_are_no_pairs_are_counted(tmp_path: Path) -> None:
    source = tsv(tmp_path / "a.tsv", 10)
    with source.open("a") as file:
        file.write("http://a.example/3.jpg\tanother caption\n")
        file.write("http://a.example/x.jpg\n\thttp\nhttp://a.example/y.jpg\t \nftp://b\tc\n")
        file.write("http://a.example/z.jpg\tone\ttwo\nhttp://a.example/z.jpg\t1\t2\t3\t4\n\n")
    found, counts = lists.choose(source, train=0, clean=0, spare=0, seed=0)
    assert counts == {"rows": 18, "malformed": 7, "twice": 1}
    captions = dict(zip(found["train"]["url"], found["train"]["caption"], strict=True))
    assert sorted(captions) == [f"http://a.example/{i}.jpg" for i in range(10)]
    assert captions["http://a.example/3.jpg"] == 'caption "3", as it is: é'


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train": 90}, r"100 usable rows; asked for 90 to train on and 20 to clean with"),
        ({"clean": 100, "train": 0}, r"asked for 0 to train on and 100"),
        ({"spare": 0.5}, r"asked for 90 to train on and 30"),
    ],
)
def test_more_than_there_is_is_refused(tmp_path: Path, values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen(tsv(tmp_path / "a.tsv", 100), **values)


@pytest.mark.parametrize("content", ["", "a\tb\nc\td\n", "http://a\thttp://b\n", "http://a\n"])
def test_a_list_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.tsv").write_text(content)
    with pytest.raises(ConfigError, match=r"a\.tsv: cannot tell which column is the URL"):
        lists.columns(tmp_path / "a.tsv")
    with pytest.raises(ConfigError, match=r"b\.tsv: no such list"):
        lists.columns(tmp_path / "b.tsv")
