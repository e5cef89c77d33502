import pytest

from bdnb.analysis.published import paper


def test_the_papers_table_1_follows_from_its_table_2():
    """Where both are printed, the change in Table 1 is that of Table 2 to the whole percent."""
    both = paper().dropna(subset=["cleaned_accuracy", "change"])
    assert len(both) == 2
    for row in both.itertuples():
        change = 100 * (row.cleaned_accuracy / row.accuracy - 1)
        assert change == pytest.approx(row.change, abs=0.5)
