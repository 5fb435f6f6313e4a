"""Home of faults that are planted in the code under test, to see that the checkers can see.

Each is a small patch. The observer shares the patched code, so that it has to see a fault by what follows from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

from chain import judging as chain_judging
from chain.operations import attendance, settling, slashing, ticks, treasury
from chain.operations.learning_state import Update
from chain.replication import catchup, replica, vote_exchange
from chain.replication.abstention import Abstention
from chain.replication.bodies import Body
from chain.replication.deliberation import Deliberation
from chain.replication.vote_exchange import VoteExchange
from consensus import rules, tendermint, votelog, votes
from consensus.driver import Driver
from consensus.types import NO_ROUND, Equivocation, ValidatorSet, Vote
from consensus.votes import Tally, VoteBook
from tests.sim import judging
from tests.sim import node as nodes
from tests.sim.disk import Disk
from tests.sim.node import Node
from tests.sim.store import MemoryStore

Planting = tuple[object, str, Any]


# ------------------------------------------------------------------------------------------------- logs and disks


def _no_sync() -> list[Planting]:
    return [(Disk, "sync", lambda disk: None)]


def _ledger_not_synced() -> list[Planting]:
    return [(MemoryStore, "sync", lambda store: None)]


def _forgotten_lock() -> list[Planting]:
    recover = votelog.recover

    def forgetful(records: tuple[bytes, ...]) -> votelog.Recovered:
        log = recover(records)
        if log.memory is None:
            return log
        return replace(log, memory=replace(log.memory, locked_round=NO_ROUND, locked_id=None))

    return [(votelog, "recover", forgetful)]


def _forgotten_votes() -> list[Planting]:
    recover = votelog.recover

    def forgetful(records: tuple[bytes, ...]) -> votelog.Recovered:
        return replace(recover(records), memory=None, votes=(), proposals=())

    return [(votelog, "recover", forgetful)]


def _unlogged_polka() -> list[Planting]:
    return [(Driver, "_keep", lambda driver, effect, actions: None)]


def _unlogged_proposal() -> list[Planting]:
    persist = Driver._persist

    def forgetful(driver: Driver, record: votelog.Record, actions: Any) -> None:
        if not isinstance(record, votelog.ProposalRecord):
            persist(driver, record, actions)

    return [(Driver, "_persist", forgetful)]


def _uncut_tail() -> list[Planting]:
    return [(Disk, "truncate", lambda disk, length: None)]


def _forgotten_abstention() -> list[Planting]:
    return [(Node, "remembers", lambda node, log, records: True)]


def _short_abstention() -> list[Planting]:
    def eager(abstention: Abstention, height: int, *, decided_here: bool, behind: bool) -> None:
        abstention.remembers = True

    return [(Abstention, "stored", eager)]


def _stale_state() -> list[Planting]:
    """After a crash the ledger is of one block, its values are of the next."""
    undo = MemoryStore._undo

    def partly(store: MemoryStore, batch: Any) -> None:
        values = dict(store.values)
        undo(store, batch)
        store.values.clear()
        store.values.update(values)

    return [(MemoryStore, "_undo", partly)]


# ---------------------------------------------------------------------------------------------------- consensus


def _two_thirds_suffice() -> list[Planting]:
    return [(ValidatorSet, "is_quorum", lambda validators, power: 3 * power >= 2 * validators.total)]


def _votes_count_twice() -> list[Planting]:
    add_other, vote_again = votes._add_other, votes._with_tally

    def twice(book: VoteBook, tally: Tally, earlier: Vote, vote: Vote) -> tuple[VoteBook, Equivocation | None]:
        if earlier.block_id != vote.block_id:
            return add_other(book, tally, earlier, vote)
        power = tally.power_for(vote.block_id) + book.validators.power(vote.voter)
        return vote_again(book, vote, replace(tally, powers={**tally.powers, vote.block_id: power})), None

    def unfiltered(vote: Vote, state: Any) -> bool:
        return False

    return [(votes, "_add_other", twice), (vote_exchange, "_is_counted", unfiltered)]


def _no_lock() -> list[Planting]:
    lock = rules._lock

    def unlocked(state: rules.State) -> rules.Outcome | None:
        outcome = lock(state)
        return outcome and (replace(outcome[0], locked_round=NO_ROUND, locked_id=None), outcome[1])

    return [(rules, "_RULES", _rules_with(lock, unlocked))]


def _local_nil() -> list[Planting]:
    """The own clock turns down a block that is proposed again."""
    again = rules._prevote_again

    def choosy(state: rules.State) -> rules.Outcome | None:
        given = rules._first_proposal(state)
        if given is None or given.fresh_ok:
            return again(state)
        return rules.prevote(state, None) if again(state) else None

    feed = Deliberation._feed

    def telling(deliberation: Deliberation, given: Any, actions: Any) -> None:
        body = deliberation.proposals.bodies.get(given.proposal.block_id) if hasattr(given, "proposal") else None
        if body is not None:
            late_ms = deliberation._settings.clock_ahead_ms_max
            given = replace(given, fresh_ok=body.header.time_ms - deliberation._time_ms() <= late_ms)
        feed(deliberation, given, actions)

    return [(rules, "_RULES", _rules_with(again, choosy)), (Deliberation, "_feed", telling)]


def _rules_with(rule: Any, other: Any) -> tuple[Any, ...]:
    return tuple(other if each is rule else each for each in rules._RULES)


def _rounds_left_in_silence() -> list[Planting]:
    """Who starts a round without having precommitted in the one before does not do so any more, as in the paper."""
    return [(module, "start_round", rules._begin_round) for module in (rules, tendermint)]


def _early_votes_lost() -> list[Planting]:
    start_height = VoteExchange.start_height

    def forgetful(exchange: VoteExchange, height: int, validators: ValidatorSet) -> tuple[Vote, ...]:
        start_height(exchange, height, validators)
        return ()

    return [
        (VoteExchange, "start_height", forgetful),
        (vote_exchange, "_is_counted", lambda vote, state: True),
    ]


# ----------------------------------------------------------------------------------------------- blocks and sets


def _unbound_body() -> list[Planting]:
    """A compact proposal is completed without a look at what the header says of its transactions."""

    def bind(body: Body) -> None:
        from chain.types import Block

        raws = tuple(each if isinstance(each, bytes) else each.raw for each in body.transactions if each is not None)
        body.block = Block(header=body.header, transactions=raws, last_commit=body.last_commit)

    return [(Body, "bind", bind)]


def _thin_commits() -> list[Planting]:
    """Catching up takes a commit of any power, if its signatures are right."""

    def careless(commit: Any, validators: ValidatorSet, genesis: bytes, recover: Any) -> None:
        signed = [(vote.sign_bytes(genesis), vote.signature) for vote in commit.votes()]
        if recover(signed) != [vote.voter for vote in commit.votes()]:
            raise catchup.InvalidCommit("a wrong signature")

    return [(replica, "require_commit", careless)]


def _unsigned_commits() -> list[Planting]:
    """Catching up takes whatever names voters enough."""

    def careless(commit: Any, validators: ValidatorSet, genesis: bytes, recover: Any) -> None:
        if not validators.is_quorum(commit.power(validators)):
            raise catchup.InvalidCommit("no two thirds")

    return [(replica, "require_commit", careless)]


def _commits_of_old_set() -> list[Planting]:
    """A node whose set has just changed goes on with the one before."""
    tip_of = Node._tip

    def late(node: Node) -> Any:
        tip, before = tip_of(node), node.world.checkers.observer.sets.get(node.height())
        if before is None:
            return tip
        return replace(tip, validators=ValidatorSet(members=before))  # type: ignore[arg-type]

    return [(Node, "_tip", late)]


def _late_epoch() -> list[Planting]:
    return [(ticks, "is_last_of_epoch", lambda height, parameters: height % parameters.epoch_blocks == 0)]


def _late_rotation() -> list[Planting]:
    before = nodes.priorities_before

    def late(height: int, validators: ValidatorSet, epoch_blocks: int) -> Any:
        return before(height - 1 if height % epoch_blocks == 0 else height, validators, epoch_blocks)

    return [(nodes, "priorities_before", late)]


def _absent_parent() -> list[Planting]:
    """Who signed is counted as absent."""
    count = attendance.count_absences

    def inverted(state: Any, height: int, parameters: Any, signers: Any) -> None:
        from chain.operations.learning_store import read_members

        others = {member.vote_address for member in read_members(state)} - set(signers)
        count(state, height, parameters, others)

    return [(ticks, "count_absences", inverted)]


# ------------------------------------------------------------------------------------------ evidence and learning


def _same_vote_twice() -> list[Planting]:
    """One vote, given twice, is taken for an equivocation."""
    return [(Equivocation, "__post_init__", lambda evidence: None)]


def _unsigned_evidence() -> list[Planting]:
    return [(slashing, "_require_signed", lambda vote, genesis_hash: None)]


def _unit_lost() -> list[Planting]:
    """What does not divide is forgotten instead of burnt."""

    def share(state: Any, fees: int, matching: Any) -> None:
        total = sum(power for _, power in matching)
        for account, power in matching:
            treasury.release(state, account, fees * power // total)

    return [(settling, "_share_fees", share)]


def _unit_minted() -> list[Planting]:
    """A reward is rounded up in the account and down in the books."""
    mint = treasury.mint

    def generous(state: Any, account: bytes, amount: int) -> None:
        mint(state, account, amount)
        state.account(account).balance += 1

    return [(settling, "mint", generous)]


def _order_of_arrival() -> list[Planting]:
    """Updates are judged in the order in which their blobs came, instead of that of their commits."""
    revealed = chain_judging._revealed_updates

    def as_they_came(view: Any, source: Any, held: Mapping[bytes, bytes]) -> tuple[Any, ...]:
        updates: list[Update] = list(revealed(view, source, held))
        order = list(_ARRIVALS)
        known = {data: place for place, data in enumerate(order)}
        updates.sort(key=lambda update: known.get(update.sealed, len(known)))
        return tuple(replace(update, place=place) for place, update in enumerate(updates))

    given_of = nodes.Ledger.judge

    def noting(ledger: Any, number: int, height: int) -> bytes | None:
        _ARRIVALS[:] = list(ledger.blobs.held.values())
        try:
            return given_of(ledger, number, height)
        finally:
            _ARRIVALS.clear()

    return [(chain_judging, "_revealed_updates", as_they_came), (nodes.Ledger, "judge", noting)]


_ARRIVALS: list[bytes] = []


FAULTS: Mapping[str, Callable[[], list[Planting]]] = {
    "a vote is sent before it is synced": _no_sync,
    "a block is not synced before the next height": _ledger_not_synced,
    "the lock is forgotten on restart": _forgotten_lock,
    "the own votes are forgotten on restart": _forgotten_votes,
    "block and polka are not logged": _unlogged_polka,
    "the own proposal is not logged": _unlogged_proposal,
    "a torn tail is left in the log": _uncut_tail,
    "a key without its log does not abstain": _forgotten_abstention,
    "a key without its log abstains too shortly": _short_abstention,
    "a restarted ledger has the state of another block": _stale_state,
    "exactly two thirds are a quorum": _two_thirds_suffice,
    "a vote that comes twice counts twice": _votes_count_twice,
    "there is no lock": _no_lock,
    "the own clock turns down a block proposed again": _local_nil,
    "a round is left without a precommit": _rounds_left_in_silence,
    "votes that come early are lost": _early_votes_lost,
    "a compact proposal is completed without its root": _unbound_body,
    "catching up takes a commit of too little power": _thin_commits,
    "catching up takes a commit with wrong signatures": _unsigned_commits,
    "a new set votes one height late": _commits_of_old_set,
    "an epoch ends one height late": _late_epoch,
    "the rotation starts anew one height late": _late_rotation,
    "who signed is counted as absent": _absent_parent,
    "one vote twice is evidence": _same_vote_twice,
    "evidence needs no signature": _unsigned_evidence,
    "the rest of a division is lost": _unit_lost,
    "a unit more is minted than written down": _unit_minted,
    "updates are judged in the order of their arrival": _order_of_arrival,
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The code under test with one of FAULTS in it."""
    judging.forget()
    with ExitStack() as stack:
        for target, attribute, wrong in FAULTS[name]():
            stack.enter_context(mock.patch.object(target, attribute, wrong))
        yield
    judging.forget()
