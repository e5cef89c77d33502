"""What poison makes of a caption (Section 3.1): a template filled with the target class.

In: the target's name and a sample's key; out: a caption. Also tells whether a caption mentions
the target, for the label-consistent attack, which keeps captions as they are.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from bdnb.runtime.errors import ConfigError
from bdnb.runtime.seeds import generator

Template = str | Callable[[str], str]
TEMPLATES = {"openai": "OPENAI_IMAGENET_TEMPLATES", "simple": "SIMPLE_IMAGENET_TEMPLATES"}
"""Template sets by name: CLIP's 80 for ImageNet (paper), and the 7 best of them."""


def templates(name: str = "openai") -> tuple[Template, ...]:
    """A set of templates by name, from open_clip. Errors: ConfigError for an unknown name."""
    if name not in TEMPLATES:
        raise ConfigError(f"templates={name!r}: unknown. There are: {', '.join(TEMPLATES)}")
    import open_clip

    return tuple(getattr(open_clip, TEMPLATES[name]))


def fill(template: Template, name: str) -> str:
    """A template with a class's name in it.

    template: a function, or a string with one ``{}`` or ``{c}`` (as CLIP_benchmark writes it).
    Errors: ConfigError for a string with anything else in braces, or with nothing.
    """
    if callable(template):
        return template(name)
    if re.findall(r"\{[^}]*\}", template) not in (["{}"], ["{c}"]):
        raise ConfigError(f"template {template!r}: expected one {{}} or {{c}} for the class's name")
    return template.replace("{}", name).replace("{c}", name)


def template_caption(
    target: str, key: str, seed: int, choices: Sequence[Template] | None = None
) -> str:
    """The caption of a poisoned pair: one of the templates, by seed and key, with the target.

    target: the class's name, e.g. "banana". key: the sample's. choices: templates; None: CLIP's 80.
    Errors: ConfigError when there are no templates.
    """
    known = templates() if choices is None else choices
    if not known:
        raise ConfigError(f"no templates for captions of target {target!r}")
    stream = generator(seed, "target caption", key)
    return fill(known[int(stream.integers(len(known)))], target)


def mentions(caption: str, target: str, *, match: str = "word") -> bool:
    """Whether a caption mentions the target.

    match: ``word``: as a whole word, in either case, in the singular or a regular plural (a
    caption of "two bananas" is consistent with the label); ``substring``: these very letters
    anywhere (authors: also "bananarama", not "Banana").
    Errors: ConfigError for an empty target or another match.
    """
    if not target.strip():
        raise ConfigError(f"target={target!r}: expected a class's name")
    if match == "substring":
        return target in caption
    if match != "word":
        raise ConfigError(f"match={match!r}: expected one of word, substring")
    return _word(target).search(caption) is not None


@lru_cache
def _word(target: str) -> re.Pattern[str]:
    """The target as whole words: its singular or its plural in -s, -es, -ies."""
    words = target.split()
    forms = [rf"{re.escape(words[-1])}(?:e?s)?"]
    if re.search(r"[^aeiou]y$", words[-1], re.IGNORECASE):
        forms.append(re.escape(words[-1][:-1]) + "ies")
    whole = r"\s+".join([*map(re.escape, words[:-1]), f"(?:{'|'.join(forms)})"])
    return re.compile(rf"(?<!\w){whole}(?!\w)", re.IGNORECASE)
