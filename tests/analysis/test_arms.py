import pandas as pd

from bdnb.analysis import arms


def rows(best):
    """Rows of three learning rates, or fewer, a seed. best: seed -> (its rates, the best one)."""
    return pd.DataFrame(
        [
            {"seed": seed, "lr": lr, "epoch": epoch, "accuracy": accuracy, "asr": asr}
            for seed, (rates, top) in best.items()
            for lr in rates
            for epoch, accuracy, asr in ((0, 90.0, 99.0), (1, 80.0 if lr == top else 60.0, 0.5))
        ]
    )


def test_a_best_rate_is_at_the_edge_of_those_that_its_own_seed_has():
    """That others went further says nothing of what a seed would have had there."""
    few, more = (1e-4, 3e-4, 1e-3), (1e-4, 3e-4, 1e-3, 2e-3)
    assert arms.at_edge(rows({0: (few, 1e-3), 1: (few, 1e-3), 2: (few, 1e-3)}))
    assert arms.at_edge(rows({0: (more, 1e-3), 1: (few, 1e-3), 2: (few, 1e-3)}))
    assert not arms.at_edge(rows({0: (more, 1e-3), 1: (more, 1e-3), 2: (few, 1e-3)}))
    assert arms.at_edge(rows({0: (more, 2e-3), 1: (more, 2e-3), 2: (few, 3e-4)}))
    assert not arms.at_edge(rows({0: (few, 3e-4), 1: (few, 3e-4), 2: (few, 1e-3)}))
