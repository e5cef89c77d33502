import json
import pickle

import pytest

from bdnb.analysis import metrics
from bdnb.analysis.published import paper, read_published
from bdnb.runtime.errors import ConfigError


def write(folder, content):
    path = folder / "cleaning_plot_data.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_the_authors_fractions_become_percent_and_the_papers_selection_applies(tmp_path):
    lists = [[0.9998, 0.0419, 0.03, 0.0], [0.2376, 0.24042, 0.22, 0.001]]
    path = write(tmp_path, {"mmcl_lr_": lists, "ssl_lr_": [[0.5], [0.2]]})
    rows = read_published(path)
    assert list(rows) == ["setting", "point", "asr", "accuracy"]
    assert rows["setting"].tolist() == ["mmcl_lr_"] * 4 + ["ssl_lr_"]
    mmcl = rows[rows["setting"] == "mmcl_lr_"]
    assert metrics.best_accuracy_at(mmcl) == pytest.approx(24.042)
    assert metrics.best_accuracy_at(mmcl, 3.0) == pytest.approx(22.0)


def test_percent_is_taken_when_the_user_says_so(tmp_path):
    path = write(tmp_path, {"a": [[99.0], [23.0]]})
    assert read_published(path, unit="percent")["asr"].tolist() == [99.0]
    with pytest.raises(ConfigError, match="between 0 and 1; is the file in another unit"):
        read_published(path)
    with pytest.raises(ConfigError, match="unit='permille'"):
        read_published(path, unit="permille")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ([1, 2], r"expected \{setting"),
        ({}, r"expected \{setting"),
        ({"a": [[0.1]]}, "'a': expected two lists"),
        ({"a": 3}, "'a': expected two lists"),
        ({"a": [[0.1, 0.2], [0.1]]}, "2 values of ASR but 1 of accuracy"),
        ({"a": [["x"], [0.1]]}, "expected numbers"),
        ({"a": [[True], [0.1]]}, "expected numbers"),
        ('{"a": [[NaN], [0.1]]}', "expected numbers"),
    ],
)
def test_a_file_of_another_form_is_refused_by_name(tmp_path, content, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_published(write(tmp_path, content))
    assert "cleaning_plot_data.json" in str(caught.value)


class Hostile:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was run",))


def test_a_pickle_is_refused_and_not_run(tmp_path):
    path = tmp_path / "points.json"
    path.write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(ConfigError, match="not JSON"):
        read_published(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"points\.json: no such file"):
        read_published(tmp_path / "points.json")


def test_the_papers_table_1_follows_from_its_table_2():
    """Where both are printed, the change in Table 1 is that of Table 2 to the whole percent."""
    both = paper().dropna(subset=["cleaned_accuracy", "change"])
    assert len(both) == 2
    for row in both.itertuples():
        change = 100 * (row.cleaned_accuracy / row.accuracy - 1)
        assert change == pytest.approx(row.change, abs=0.5)
