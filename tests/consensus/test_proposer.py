"""Rotation is deterministic, proportional to power, and independent of how many rounds a height took."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from consensus import proposer
from consensus.types import Round, ValidatorSet, Voter
from tests.consensus.scene import EQUAL, FOUR, ONE, THREE, TWO


def sets(power_max: int = 50, size_max: int = 8) -> st.SearchStrategy[ValidatorSet]:
    powers = st.lists(st.integers(1, power_max), min_size=1, max_size=size_max)
    return powers.map(
        lambda given: ValidatorSet(members=tuple((Voter(bytes([i]) * 20), power) for i, power in enumerate(given)))
    )


def turns(validators: ValidatorSet, heights: int) -> list[Voter]:
    priorities = proposer.start(validators)
    order = []
    for _ in range(heights):
        voter, priorities = proposer.advance(validators, priorities)
        order.append(voter)
    return order


def test_equal_powers_take_turns_by_address() -> None:
    assert turns(EQUAL, 8) == [ONE, TWO, THREE, FOUR] * 2


def test_weighted_order_is_as_worked_out_by_hand() -> None:
    validators = ValidatorSet(members=((ONE, 1), (TWO, 3)))
    # (1, 3) -> TWO; (2, 2) -> ONE by address; (-1, 5) -> TWO; (0, 4) -> TWO; (0, 0)
    assert turns(validators, 4) == [TWO, ONE, TWO, TWO]
    assert proposer.after(validators, 4) == (0, 0)


@settings(deadline=None, max_examples=60)
@given(sets())
def test_turns_are_exactly_proportional_over_a_full_period(validators: ValidatorSet) -> None:
    assert Counter(turns(validators, validators.total)) == dict(validators.members)
    assert proposer.after(validators, validators.total) == proposer.start(validators)


@settings(deadline=None, max_examples=60)
@given(sets(), st.integers(0, 300))
def test_turns_stay_within_the_set_size_of_the_fair_share(validators: ValidatorSet, heights: int) -> None:
    count = Counter(turns(validators, heights))
    for voter, power in validators.members:
        assert abs(count[voter] * validators.total - power * heights) < len(validators.members) * validators.total


@settings(deadline=None, max_examples=60)
@given(sets(), st.integers(0, 40), st.integers(0, 12))
def test_rounds_repeat_the_step_on_a_copy(validators: ValidatorSet, heights: int, round_: int) -> None:
    before = proposer.after(validators, heights)
    assert proposer.proposer(validators, before, Round(round_)) == turns(validators, heights + round_ + 1)[-1]
    # The next height begins where this one's round 0 left, whatever the round.
    _, following = proposer.advance(validators, before)
    assert following == proposer.after(validators, heights + 1)
    assert sum(following) == 0
