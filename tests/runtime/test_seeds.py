import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bdnb.runtime import seeds


def test_equal_arguments_give_equal_streams():
    one, two = (seeds.generator(3, "trigger", "key", 5).random(8) for _ in range(2))
    assert np.array_equal(one, two)


@given(st.integers(0, 2**31), st.text(max_size=8), st.integers(0, 100), st.integers(0, 100))
def test_another_index_gives_another_stream(seed, purpose, a, b):
    one, two = (
        seeds.generator(seed, purpose, a).random(),
        seeds.generator(seed, purpose, b).random(),
    )
    assert (one == two) == (a == b)


def test_an_index_is_not_confused_with_its_neighbours():
    assert seeds.generator(0, "a", 1, 23).random() != seeds.generator(0, "a", 12, 3).random()
