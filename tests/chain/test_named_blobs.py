"""Tests of which blobs the chain names in each phase of a round, and for how long."""

from __future__ import annotations

from chain.named_blobs import NamedBlob, named_blobs, needed_blobs
from chain.operations.learning_state import RoundStatus
from learning.commitment import blob_root
from tests.chain.operations.learning_play import play_round, play_round_from, settle_round
from tests.chain.operations.learning_rounds import committed, held, judged, opening
from tests.chain.operations.learning_world import ARCHITECTURE, BOND, CUSTODIANS, MINERS, SHARDS, World, make_world


def named(world: World, complete: frozenset[bytes] = frozenset()) -> list[NamedBlob]:
    return named_blobs(world, world.parameters, world.blobs.get, complete)


def updates(world: World) -> dict[bytes, bytes]:
    """Root -> miner, if the update is not held yet."""
    found = {blob.root: blob.miner for blob in named(world) if not blob.manifest}
    assert all(len(world.blobs[blob.root]) == blob.length for blob in named(world)), "lengths are exact"
    return found


def test_custodians_manifests_and_shards_are_named_from_the_start_each_after_its_manifest() -> None:
    world = make_world()
    manifests = [world.custodian(address).shards_root for address in CUSTODIANS]
    blobs = named(world)
    assert len(blobs) == len(CUSTODIANS) * (1 + SHARDS)
    assert [blob.root for blob in blobs if blob.root == blob.manifest] == manifests
    assert all(len(world.blobs[blob.root]) == blob.length for blob in blobs)
    without = dict(world.blobs)
    del without[manifests[0]]
    listed = named_blobs(world, world.parameters, without.get, frozenset())
    assert [blob.root for blob in listed] == [manifests[0], *(each.root for each in blobs[1 + SHARDS :])]
    assert {blob.manifest for blob in named(world, frozenset(manifests[:1]))} == {manifests[1]}


def test_a_manifest_that_is_none_names_no_shards() -> None:
    world = make_world()
    manifest = world.custodian(CUSTODIANS[0]).shards_root
    world.blobs[manifest] = b"?" * len(world.blobs[manifest])
    assert [blob.root for blob in named(world) if blob.manifest == manifest] == [manifest]


def test_the_shards_that_are_opened_next_come_first() -> None:
    world = make_world()
    judged(world)
    (first, *_) = [blob.root for blob in named(world) if blob.manifest and blob.root != blob.manifest]
    manifest = world.custodian(CUSTODIANS[0]).shards_root
    assert world.blobs[manifest][36 : 36 + 32] == first, "the second: the first was opened"


def test_an_update_is_its_miners_upload_until_validators_hold_it() -> None:
    world = make_world()
    roots = committed(world)
    assert updates(world) == dict(zip(roots, MINERS[:2], strict=True))
    world.hold(0)
    world.go_to(1, 0)
    assert world.round(0).status is RoundStatus.HELD
    assert updates(world) == dict.fromkeys(roots, b"")


def test_updates_that_validators_did_not_hold_or_that_were_not_revealed_are_not_named() -> None:
    world = make_world()
    committed(world)
    world.go_to(1, 0)
    assert not updates(world)
    world = make_world()
    roots = held(world)
    world.reveal(MINERS[0], 0, roots[0], "update 0")
    world.go_to(1, 2)
    assert list(updates(world)) == roots[:1]


def test_revealed_updates_are_named_until_they_are_settled_and_within_the_copy_window() -> None:
    world = make_world()
    roots = opening(world)
    assert list(updates(world)) == roots
    world = make_world()
    settlement = play_round(world, 0)
    roots = [update.sealed_root for update in world.round(0).updates]
    assert list(updates(world)) == roots
    settle_round(world, 0, settlement)
    assert list(updates(world)) == roots
    settle_round(world, 1, play_round_from(world, 1))
    assert roots[0] in updates(world)


def test_the_same_root_with_another_length_is_named_beside_it_and_the_same_twice_is_named_once() -> None:
    world = make_world()
    (root,) = committed(world, count=1)
    size = len(world.blobs[root])
    for miner, length in ((MINERS[1], size + 1), (MINERS[2], size)):
        state = world.task_state
        arguments = (world.task, 0, state.head, root, length, bytes(32))
        world.call(miner, "commitUpdate", *arguments, value=BOND + state.evaluation_fee)
    found = [(blob.length, blob.miner) for blob in named(world) if blob.root == root]
    assert found == [(size, MINERS[0]), (size + 1, MINERS[1])]


def test_heads_are_named_only_where_judging_needs_them() -> None:
    world = make_world()
    settle_round(world, 0, play_round(world, 0))
    initial, head = (each.root for each in world.task_state.heads)
    assert not {initial, head} & {blob.root for blob in named(world)}
    roots = frozenset({initial, head, blob_root(b"no blob of the task")})
    (found,) = needed_blobs(world, world.parameters, world.task, world.blobs.get, roots)
    assert found == NamedBlob(root=head, length=4 * ARCHITECTURE.parameters, task=world.task, head=True)
    assert len(world.blobs[head]) == found.length
