"""EDA, the second view of a caption (Wei and Zou 2019): one of four small edits of its words.

In: captions, their epoch and keys; out: one caption for each, in the same order.
"""

import re
from collections.abc import Callable, Sequence
from random import Random

from bdnb.data.augment.wordnet import synonyms
from bdnb.runtime.batch_random import states
from bdnb.runtime.errors import ConfigError

MODES = ("fresh", "cached")
FUNCTION_WORDS = """
a about above after again against all am an and any are as at be because been before being below
between both but by can could did do does doing don down during each few for from further had has
have having he her here hers herself him himself his how i if in into is it its itself just me more
most my myself no nor not now of off on once only or other our ours ourselves out over own s same
she should so some such t than that the their theirs them themselves then there these they this
those through to too under until up very was we were what when where which while who whom why will
with would you your yours yourself yourselves
"""
STOP_WORDS = frozenset(FUNCTION_WORDS.split())
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
        streams = states(self.seed, "text view", when, keys).tolist()
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
    """The caption's words as EDA cleans them: lower case, letters only, hyphens are spaces."""
    return re.findall("[a-z]+", caption.lower().replace("'", "").replace("’", ""))


def eda(caption: str, draw: Random, *, alpha: float = 0.1, lookup: Synonyms = synonyms) -> str:
    """One of the four operations on a caption; a caption without words comes back as it is.

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
    """Up to ``count`` different words, no stop words, each replaced wherever it stands."""
    known = sorted(set(words) - STOP_WORDS)
    chosen: dict[str, str] = {}
    for word in draw.sample(known, len(known)):
        if len(chosen) == count:
            break
        if options := lookup(word):
            chosen[word] = draw.choice(options)
    return [chosen.get(word, word) for word in words]


def insert(words: Words, count: int, draw: Random, lookup: Synonyms = synonyms) -> Words:
    """``count`` times, a synonym of one of the words, no stop word, at a random place."""
    known = [options for word in words if word not in STOP_WORDS and (options := lookup(word))]
    words = list(words)
    for _ in range(count if known else 0):
        words.insert(draw.randrange(len(words) + 1), draw.choice(draw.choice(known)))
    return words


def swap(words: Words, count: int, draw: Random) -> Words:
    """``count`` times, two words change places."""
    words = list(words)
    for _ in range(count if len(words) > 1 else 0):
        i, j = draw.sample(range(len(words)), 2)
        words[i], words[j] = words[j], words[i]
    return words


def delete(words: Words, probability: float, draw: Random) -> Words:
    """Each word dropped with that probability; one is kept at random if none would be left."""
    kept = [word for word in words if draw.random() >= probability]
    return kept or [draw.choice(words)]
