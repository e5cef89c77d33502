"""One colour and one shape stand for one thing, in every figure."""

from hypothesis import given
from hypothesis import strategies as st

from bdnb.report import style


def test_no_colour_stands_for_things_of_two_kinds() -> None:
    kinds = [{look.colour for look in palette.values()} for palette in style.PALETTES.values()]
    kinds += [set(style.VIRIDIS), set(style.COLOURS), {style.RED}]
    assert len(set().union(*kinds)) == sum(map(len, kinds))


@given(st.lists(st.sampled_from(["mmcl", "ssl", "mmcl_ssl", "mine", "other"]), unique=True))
def test_a_loss_looks_the_same_whichever_others_are_there(losses: list[str]) -> None:
    looks = style.palette("loss", losses)
    assert len({look.colour for look in looks.values()}) == len(losses)
    for loss in set(losses) & set(style.LOSSES):
        assert looks[loss] == style.LOSSES[loss]


@given(st.floats(min_value=1e-9, max_value=1))
def test_a_learning_rate_looks_the_same_beside_any_other(lr: float) -> None:
    assert style.palette("lr", [lr, 1e-3])[lr] == style.palette("lr", [lr])[lr]


def test_neighbouring_learning_rates_of_a_sweep_differ_in_colour_and_shape() -> None:
    looks = style.palette("lr", [3e-4, 5e-4, 1e-3, 2e-3, 3e-3]).values()
    assert len({look.colour for look in looks}) == len({look.marker for look in looks}) == 5


def test_a_learning_rate_is_written_as_in_parameter_files() -> None:
    assert [style.short(rate) for rate in (1e-3, 2.5e-4, 1e-5)] == ["1e-3", "2.5e-4", "1e-5"]


def test_the_learning_rates_of_the_headline_go_from_dark_to_light_without_a_colour_twice() -> None:
    looks = [look.colour for look in style.palette("lr", [3e-5, 1e-4, 3e-4, 1e-3, 2e-3]).values()]
    places = [style.VIRIDIS.index(colour) for colour in looks]
    assert places == sorted(set(places))
