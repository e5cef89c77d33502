"""What poison makes of a caption (Section 3.1): a template filled with the target class.

In: the target's name and a sample's key; out: a caption. Also tells whether a caption mentions
the target, for the label-consistent attack, which keeps captions as they are.
"""

import re
from collections.abc import Sequence
from functools import cache, lru_cache

from bdnb.runtime.errors import ConfigError
from bdnb.runtime.seeds import generator

TEMPLATES = {"openai": "OPENAI_IMAGENET_TEMPLATES", "simple": "SIMPLE_IMAGENET_TEMPLATES"}
"""Template sets by name: CLIP's 80 for ImageNet (paper), and the 7 best of them."""


@cache
def templates(name: str = "openai") -> list[str]:
    """Return a set of open_clip's templates, ``{c}`` for the class; the same list each time."""
    import open_clip

    return [template("{c}") for template in getattr(open_clip, TEMPLATES[name])]


def fill(template: str, name: str) -> str:
    """Return a template with its one ``{}`` or ``{c}`` filled. Errors: ConfigError."""
    if re.findall(r"\{[^}]*\}", template) not in (["{}"], ["{c}"]):
        raise ConfigError(f"template {template!r}: expected one {{}} or {{c}} for the class's name")
    return template.replace("{}", name).replace("{c}", name)


def target_caption(target: str, key: str, seed: int, natural: Sequence[str] = ()) -> str:
    """Return the caption of a poisoned pair: one of CLIP's 80 templates, by seed and key.

    natural: captions to draw from instead.
    """
    known = natural or templates()
    drawn = known[int(generator(seed, "target caption", key).integers(len(known)))]
    return drawn if natural else fill(drawn, target)


def mentions(caption: str, target: str, *, match: str = "word") -> bool:
    """Return whether a caption mentions the target.

    match: ``word``: as a whole word, in either case, in the singular or a regular plural (a
    caption of "two bananas" is consistent with the label); ``substring``: these very letters
    anywhere (authors: also "bananarama", not "Banana"). Errors: ConfigError for an empty target.
    """
    if not target.strip():
        raise ConfigError(f"target={target!r}: expected a class's name")
    return target in caption if match == "substring" else bool(_word(target).search(caption))


@lru_cache
def _word(target: str) -> re.Pattern[str]:
    """The target as whole words: its singular or its plural in -s, -es, -ies."""
    words = target.split()
    forms = [rf"{re.escape(words[-1])}(?:e?s)?"]
    if re.search(r"[^aeiou]y$", words[-1], re.IGNORECASE):
        forms.append(re.escape(words[-1][:-1]) + "ies")
    whole = r"\s+".join([*map(re.escape, words[:-1]), f"(?:{'|'.join(forms)})"])
    return re.compile(rf"(?<!\w){whole}(?!\w)", re.IGNORECASE)
