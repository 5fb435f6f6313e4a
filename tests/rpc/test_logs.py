"""Home of the tests of log filters: what they match, and that a bloom never hides a match."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from chain.bloom import bloom_of
from chain.types import Log
from rpc.logs import LogFilter

ADDRESSES = [bytes([number]) * 20 for number in range(3)]
TOPICS = [bytes([number]) * 32 for number in range(3)]
LOGS = st.builds(
    Log,
    address=st.sampled_from(ADDRESSES),
    topics=st.lists(st.sampled_from(TOPICS), max_size=4).map(tuple),
    data=st.just(b""),
)
FILTERS = st.builds(
    LogFilter,
    addresses=st.lists(st.sampled_from(ADDRESSES), max_size=2).map(tuple),
    topics=st.lists(st.lists(st.sampled_from(TOPICS), max_size=2).map(tuple), max_size=4).map(tuple),
)


def plain_match(log: Log, wanted: LogFilter) -> bool:
    if wanted.addresses and log.address not in wanted.addresses:
        return False
    for place, alternatives in enumerate(wanted.topics):
        if place >= len(log.topics) or (alternatives and log.topics[place] not in alternatives):
            return False
    return True


@settings(deadline=None, max_examples=300)
@given(LOGS, FILTERS)
def test_a_filter_matches_by_address_and_by_topics_in_their_places(log: Log, wanted: LogFilter) -> None:
    assert wanted.matches(log) == plain_match(log, wanted)


@settings(deadline=None, max_examples=300)
@given(st.lists(LOGS, max_size=4), FILTERS)
def test_a_bloom_never_hides_a_match(logs: list[Log], wanted: LogFilter) -> None:
    if any(wanted.matches(log) for log in logs):
        assert wanted.may_match(bloom_of(logs))


def test_a_bloom_rules_out_what_is_not_there() -> None:
    log = Log(address=ADDRESSES[0], topics=(TOPICS[0],), data=b"")
    assert not LogFilter(addresses=(b"\x77" * 20,)).may_match(bloom_of([log]))
    assert not LogFilter(topics=((b"\x77" * 32,),)).may_match(bloom_of([log]))
    assert not LogFilter(addresses=(ADDRESSES[0],)).may_match(bytes(256))
