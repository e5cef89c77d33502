"""A real run of img2dataset against a server on this machine that serves what the web serves."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bdnb.data import datasets, decode, web
from bdnb.runtime.errors import ConfigError
from tests.data import shard_files, web_pairs
from tests.lacking import leave_out

KINDS = {"good": 24, "gone": 4, "slow": 2, "html": 3, "short": 2, "cut": 2, "huge": 1, "long": 1}
"""Kind -> how many URLs of the list are of it."""

FETCH = web.Fetch(clean=8, size=32, processes=1, threads=8, timeout=4, shard_size=10)


def bodies() -> dict[str, bytes]:
    big = web_pairs.encoded(Image.new("1", (11_000, 10_000)), "PNG")
    jpeg = web_pairs.encoded(web_pairs.picture(0, (200, 160)))
    return {
        "html": b"<html><body>Moved</body></html>",
        "short": jpeg,
        "cut": jpeg[: len(jpeg) // 2],
        "huge": big,
        "long": web_pairs.encoded(Image.new("L", (3000, 2)), "PNG"),
    }


class Web(BaseHTTPRequestHandler):
    """Answers ``/KIND/NUMBER``; counts what it was asked for."""

    asked: Counter[str]
    bodies: dict[str, bytes]

    def do_GET(self) -> None:
        _, kind, number = self.path.split("/")
        self.asked[kind] += 1
        if kind == "slow":
            time.sleep(10)  # longer than the time-out, which a busy machine's good ones are not
        self.send_response(404 if kind == "gone" else 200)
        body = self.bodies.get(kind, b"")
        if kind == "good":
            size = (48 + 8 * (int(number) % 4), 64)
            body = web_pairs.encoded(web_pairs.picture(int(number), size))
        length = len(body) + (1000 if kind == "short" else 0)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        with suppress(BrokenPipeError):
            self.wfile.write(body)

    def log_message(self, *given: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = (
        64  # by default 5 may wait, and the system lets others try again in a second
    )


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    Web.asked, Web.bodies = Counter(), bodies()
    ours = Server(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=ours.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{ours.server_port}"
    ours.shutdown()
    ours.server_close()
    thread.join()


@pytest.fixture(scope="module")
def built(server: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    if not (web.home() / "bin" / "img2dataset").is_file():
        leave_out("img2dataset", f"img2dataset is not in {web.home()}; `make web` puts it there")
    folder = tmp_path_factory.mktemp("web")
    pages = [f"{server}/{kind}/{i}" for kind, count in KINDS.items() for i in range(count)]
    lines = [f"{i} banana, as it is: é\t{url}\n" for i, url in enumerate(pages)]
    (folder / "list.tsv").write_text("".join(lines), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "127.0.0.1")
        report = web.build(folder / "list.tsv", folder / "set", FETCH)
    return folder / "set", report


@pytest.mark.web
def test_every_kind_of_answer_is_counted_for_what_it_is(built: tuple[Path, dict]) -> None:
    folder, report = built
    total = {name: report["train"][name] + report["clean"][name] for name in ("requested", "good")}
    assert total == {"requested": sum(KINDS.values()), "good": KINDS["good"]}
    status: Counter[str] = Counter(report["train"]["status"]) + Counter(report["clean"]["status"])
    assert status["HTTP Error 404: Not Found"] == KINDS["gone"]
    assert sum(n for what, n in status.items() if "timed out" in what) == KINDS["slow"]
    assert sum(n for what, n in status.items() if "IncompleteRead" in what) == KINDS["short"]
    assert status["Image decoding error"] == KINDS["html"] + KINDS["cut"]
    assert status["image area too large"] == KINDS["huge"]
    assert status["aspect ratio too large"] == KINDS["long"]
    assert report["train"]["not_downloaded"] + report["clean"]["not_downloaded"] == 8
    assert json.loads((folder / "report.json").read_text())["train"] == report["train"]


@pytest.mark.web
def test_cleaning_pairs_share_no_key_and_no_url_with_training_pairs(
    built: tuple[Path, dict],
) -> None:
    keys, urls = [], []
    for split in ("train", "clean"):
        samples = list(shard_files.read_pairs(shard_files.tars(built[0] / split)))
        keys.append({sample["__key__"] for sample in samples})
        urls.append({sample["json"]["url"] for sample in samples})
        assert len(keys[-1]) == len(urls[-1]) == built[1][split]["good"]
    assert not keys[0] & keys[1]
    assert not urls[0] & urls[1]


@pytest.mark.web
@pytest.mark.parametrize("how", ["yes", "no"])
def test_what_was_fetched_is_trained_on_as_it_is(built: tuple[Path, dict], how: str) -> None:
    folder, report = built
    pairs = datasets.Dataset(folder, stream=how).training_pairs(24, seed=0)
    assert len(pairs) == report["train"]["good"]
    assert pairs.bad == {}
    by_key = {s["__key__"]: s for s in shard_files.read_pairs(shard_files.tars(folder / "train"))}
    for i, key in enumerate(pairs.keys):
        about = by_key[key]["json"]
        assert pairs.captions[i] == about["caption"]
        assert min(about["width"], about["height"]) == 32
        number = int(about["url"].rpartition("/")[2])
        sent = web_pairs.picture(number, (48 + 8 * (number % 4), 64))
        small = decode.square(sent, 24).astype(float)
        others = decode.square(web_pairs.picture(number + 100, sent.size), 24).astype(float)
        seen = np.asarray(pairs.images[i]).astype(float)
        assert np.abs(seen - small).mean() < 0.5 * np.abs(seen - others).mean()


@pytest.mark.web
def test_a_second_call_fetches_nothing_again(
    built: tuple[Path, dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, report = built
    before = Web.asked.copy()
    source = folder.parent / "list.tsv"
    again = web.build(source, folder, FETCH)
    assert again == report
    assert Web.asked == before
    with pytest.raises(ConfigError, match=r"begun with other values \(seed is 0, asked for 1\)"):
        web.build(source, folder, replace(FETCH, seed=1))


def stats(folder: Path, number: int, **values: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{number:05d}_stats.json").write_text(json.dumps(values))


def test_counts_of_all_shards_are_added_up(tmp_path: Path) -> None:
    some = {"failed_to_download": 2, "failed_to_resize": 1}
    gone = {"success": 7, "gone": 2, "html": 1}
    stats(tmp_path, 0, count=10, successes=7, status_dict=gone, **some)
    stats(tmp_path, 1, count=5, successes=2, status_dict={"gone": 2, "success": 2, "x": 1}, **some)
    found = web.counts(tmp_path)
    assert found["status"] == {"success": 9, "gone": 4, "html": 1, "x": 1}
    assert list(found["status"])[:2] == ["success", "gone"]
    assert (found["requested"], found["good"], found["not_downloaded"]) == (15, 9, 4)


@pytest.mark.parametrize("torn", ['{"count": 10, "succ', "{}", "null"])
def test_a_torn_count_of_a_shard_is_named(tmp_path: Path, torn: str) -> None:
    (tmp_path / "00000_stats.json").write_text(torn)
    with pytest.raises(ConfigError, match=r"00000_stats\.json: damaged: remove it"):
        web.counts(tmp_path)


def test_the_report_says_in_words_what_was_lost() -> None:
    part = {"requested": 10, "good": 6, "wanted": 8, "status": {"success": 6, "gone": 4}}
    said = web.text({"list": {"rows": 12, "twice": 1, "malformed": 1}, "train": part})
    assert "train: 6 good of 10 asked for" in said
    assert "4 gone" in said
    assert "fewer than the 8 wanted" in said


def fake(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_shard_that_was_not_made_is_an_error_that_names_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "home", lambda: tmp_path / "venv")
    fake(tmp_path / "venv" / "bin" / "img2dataset", "echo the disk is full; exit 3")
    (tmp_path / "a.jsonl").write_text("{}\n" * 25)
    with pytest.raises(ConfigError, match=r"made 0 of 3 shards \(exit status 3; .*\.train\.log"):
        web.download(tmp_path / "a.jsonl", tmp_path / "train", FETCH)
    assert "the disk is full" in (tmp_path / ".train.log").read_text()


def test_a_command_that_was_refused_does_not_block_the_corrected_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []

    def download(source: Path, folder: Path, fetch: web.Fetch, *, digits: int) -> dict:
        fetched.append([json.loads(line)["url"] for line in source.read_text().splitlines()])
        return {}

    monkeypatch.setattr(web, "download", download)
    some = replace(FETCH, pairs=6, clean=3)
    lines = [f"https://a.example/{i}.jpg\ta caption\n" for i in range(9)]
    (tmp_path / "other.tsv").write_text("".join(lines[:4]))
    for name, message in (("list.tsv", "no such list"), ("other.tsv", "4 usable rows")):
        with pytest.raises(ConfigError, match=message):
            web.build(tmp_path / name, tmp_path / "out", some)
    (tmp_path / "list.tsv").write_text("".join(lines))
    web.build(tmp_path / "list.tsv", tmp_path / "out", some)
    clean, train = fetched
    assert sorted(clean + train) == [f"https://a.example/{i}.jpg" for i in range(9)]
    web.build(tmp_path / "list.tsv", tmp_path / "out", some)
    assert fetched == [clean, train, clean, train]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "no.tsv: no such list"),
        (("--pairs", "-1"), "pairs='-1': expected a number of at least 0"),
        (("--seed", "x"), "seed='x': expected a whole number"),
        (("--spare", "-0.1"), "spare='-0.1': expected a number of at least 0"),
        (("--timeout", "0"), "timeout='0': expected a number of at least 1"),
        (("--shard-size", "0"), "shard_size='0': expected a number of at least 1"),
    ],
)
def test_the_command_says_what_is_wrong_in_a_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    message: str,
) -> None:
    given = ["web", "--list", str(tmp_path / "no.tsv"), "--out", str(tmp_path / "out"), *more]
    monkeypatch.setattr("sys.argv", given)
    with pytest.raises(SystemExit, match="2"):
        web.main()
    assert message in capsys.readouterr().err
