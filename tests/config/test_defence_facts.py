"""What each defence is said to know, held to the defences that there are."""

import pytest

from bdnb import defences
from bdnb.config.defence_facts import FACTS, MEASUREMENTS

WORDS = {"clean pairs", "class names", "labelled images", "training pairs", "trigger", "nothing"}
RULES = {"last", "best_accuracy", "loss_plateau", "accuracy_floor"}


def test_every_defence_says_what_it_knows_and_a_measurement_is_none():
    assert set(defences.DEFENCES) - set(FACTS) <= set(MEASUREMENTS)
    assert not set(FACTS) & set(MEASUREMENTS)


@pytest.mark.parametrize("name", FACTS)
def test_facts_are_said_in_the_words_that_pages_know(name):
    facts = FACTS[name]
    assert facts.knows
    assert set(facts.knows) <= WORDS
    assert "nothing" not in facts.knows or facts.knows == ("nothing",)
    assert facts.blind in RULES
    assert facts.paper
