"""Home of `verify`'s look at the vote log: is it whole, and does it know of what its key signed last?"""

from __future__ import annotations

from pathlib import Path

from chain.storage.datadir import storage_error
from chain.storage.store import Store
from chain.verification.replay import Different
from consensus import codec, votelog
from consensus.types import InvalidConsensus, Voter

FIELD = "vote log"


def verify_vote_log(path: Path, store: Store, own: bytes | None = None) -> None:
    """Compare the log with the last commit, whose signatures it must hold. Raises Different, StorageFailed.

    Whose key a log is for, it says itself; `own` is that address where it is known, as a log may have lost everything.
    What a log lost after the last commit can't be told from what a crash has torn.
    """
    tip, commit = store.tip(), store.meta("commit")
    if not tip or not commit:
        return  # nobody votes on genesis
    try:
        scan = votelog.scan(path.read_bytes())
        log = votelog.recover(scan.records)
        last = codec.decode_commit(commit)
    except InvalidConsensus as error:
        raise Different(tip, FIELD, str(error)) from error
    except FileNotFoundError as error:
        raise Different(tip, FIELD, f"{path} is missing") from error
    except OSError as error:
        raise storage_error(f"can't read {path}", error) from error
    voters = {own} if own else set()
    for record in map(votelog.decode_record, scan.records):
        if isinstance(record, votelog.VoteRecord):
            voters.add(record.vote.voter)
    for voter in map(Voter, sorted(voters)):
        if votelog.forgets(log, last, voter):
            what = f"it ends before the precommit that 0x{voter.hex()} has signed for this height"
            raise Different(tip, FIELD, what)
