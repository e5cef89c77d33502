import re
from pathlib import Path

import pytest

from bdnb import defences
from bdnb.runtime.errors import ConfigError


def test_a_file_in_the_package_is_all_that_a_defence_needs():
    files = Path(defences.__file__).parent.glob("*.py")
    named = {n for f in files for n in re.findall(r'^@defence\("(\w+)"\)', f.read_text(), re.M)}
    ours = {n for n, made in defences.DEFENCES.items() if made.__module__.startswith("bdnb.")}
    assert {"cleanclip", "screen", "deep_cluster"} < named == ours


@pytest.mark.parametrize(
    ("name", "option", "expected"),
    [
        ("shrink_perturb", {"noise": "salt"}, "noise='salt': expected one of gaussian, fresh"),
        ("deep_cluster", {"lookup": "never"}, "lookup='never': expected one of epoch, batch"),
        ("heavy_regularisation", {"by": 3}, "by=3: expected one of penalty, decay"),
    ],
)
def test_a_word_that_an_option_does_not_know_is_refused_before_any_work(name, option, expected):
    with pytest.raises(ConfigError, match=re.escape(expected)):
        defences.check(name, option)
