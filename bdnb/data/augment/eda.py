"""EDA, the second view of a caption (Wei and Zou 2019): one of four small edits of its words.

In: captions, their epoch and keys; out: one caption for each, in the same order.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from bdnb.data.augment.wordnet import synonyms
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.seeds import sample_seeds

MODES = ("fresh", "cached")
STOP_WORDS = frozenset(Path(__file__).with_name("stop_words.txt").read_text("utf-8").split())
"""Words that are neither replaced by a synonym nor chosen to insert one."""

Words = list[str]
Synonyms = Callable[[str], Sequence[str]]


class TextViews:
    """EDA on captions: synonym replacement, random insertion, random swap or random deletion.

    One of the four, at random, changes about ``alpha`` of the words (at least one; deletion drops
    each with probability alpha); this keeps one of EDA's variants, as the authors do.
    mode: ``fresh``: drawn anew each epoch; ``cached``: the same view in all epochs (authors).
    The authors leave out a caption on which EDA fails, so that every later view belongs to the
    caption before it. Here a caption without words is its own view, and there is one view out for
    each caption in; ``ShiftedViews`` is the authors' way.
    Errors: ConfigError for another mode or an alpha outside 0..1.
    """

    def __init__(self, seed: int, *, mode: str = "fresh", alpha: float = 0.1) -> None:
        if mode not in MODES:
            raise ConfigError(f"mode={mode!r}: expected one of {', '.join(MODES)}")
        if not 0 <= alpha <= 1:
            raise ConfigError(f"alpha={alpha}: expected a share of the words, from 0 to 1")
        self.seed, self.mode, self.alpha = seed, mode, alpha

    def __call__(self, captions: Sequence[str], epoch: int, keys: Sequence[str]) -> list[str]:
        """A view of each caption, by its key. Errors: ConfigError for fewer or more keys."""
        if len(keys) != len(captions):
            raise ConfigError(f"text views: {len(captions)} captions, but {len(keys)} keys")
        when = epoch if self.mode == "fresh" else 0
        streams = sample_seeds(self.seed, "text view", when, keys).tolist()
        pairs = zip(captions, streams, strict=True)
        return [eda(caption, Random(stream), alpha=self.alpha) for caption, stream in pairs]


class ShiftedViews:
    """The authors' views with their slip, for the whole of a set in its order.

    Views are made once; a caption on which EDA fails, one without words, gets none, so that every
    caption after it has the view of the next. The last ones, for which none is left, stay as they
    are. Errors: ConfigError for captions and keys of different number.
    """

    def __init__(self, seed: int, captions: Sequence[str], keys: Sequence[str]) -> None:
        whole = TextViews(seed, mode="cached")(captions, 0, keys)
        made = [view for view, c in zip(whole, captions, strict=True) if words_of(c)]
        self._views = dict(zip(keys, [*made, *captions[len(made) :]], strict=True))

    def __call__(self, captions: Sequence[str], epoch: int, keys: Sequence[str]) -> list[str]:
        """The view that each key's caption has ended up with."""
        return [self._views[key] for key in keys]


def words_of(caption: str) -> Words:
    """Return a caption's words as EDA cleans them: lower case, letters only, hyphens as spaces."""
    return re.findall("[a-z]+", caption.lower().replace("'", "").replace("’", ""))


def eda(caption: str, draw: Random, *, alpha: float = 0.1, lookup: Synonyms = synonyms) -> str:
    """Apply one of the four operations to a caption; a caption without words comes back as it is.

    alpha: share of the words to change, at least one unless it is 0. lookup: a word's synonyms.
    """
    words = words_of(caption)
    if not words:
        return caption
    count = max(1, int(alpha * len(words))) if alpha > 0 else 0
    operation = draw.randrange(4)
    if operation == 0:
        words = replace(words, count, draw, lookup)
    elif operation == 1:
        words = insert(words, count, draw, lookup)
    elif operation == 2:
        words = swap(words, count, draw)
    else:
        words = delete(words, alpha, draw)
    return " ".join(words)


def replace(words: Words, count: int, draw: Random, lookup: Synonyms = synonyms) -> Words:
    """Replace up to ``count`` different words, no stop words, each replaced wherever it stands."""
    known = sorted(set(words) - STOP_WORDS)
    chosen: dict[str, str] = {}
    for word in draw.sample(known, len(known)):
        if len(chosen) == count:
            break
        if options := lookup(word):
            chosen[word] = draw.choice(options)
    return [chosen.get(word, word) for word in words]


def insert(words: Words, count: int, draw: Random, lookup: Synonyms = synonyms) -> Words:
    """Insert, ``count`` times, a synonym of one of the words, no stop word, at a random place."""
    known = [options for word in words if word not in STOP_WORDS and (options := lookup(word))]
    words = list(words)
    for _ in range(count if known else 0):
        words.insert(draw.randrange(len(words) + 1), draw.choice(draw.choice(known)))
    return words


def swap(words: Words, count: int, draw: Random) -> Words:
    """Let two words change places, ``count`` times."""
    words = list(words)
    for _ in range(count if len(words) > 1 else 0):
        i, j = draw.sample(range(len(words)), 2)
        words[i], words[j] = words[j], words[i]
    return words


def delete(words: Words, probability: float, draw: Random) -> Words:
    """Drop each word with that probability; one is kept at random if none would be left."""
    kept = [word for word in words if draw.random() >= probability]
    return kept or [draw.choice(words)]
