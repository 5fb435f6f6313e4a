"""Home of the ledger's view of state: flat keys, accounts, and a working copy that one block's execution writes to."""

from __future__ import annotations

from typing import Protocol

from chain.codec import amount_from_bytes, amount_to_bytes, expect_array, expect_int, pack, unpack

# Kinds of state, the first byte of a flat key. The rest of the key is the id.
KIND_ACCOUNT = b"a"  # address -> [nonce, balance]
KIND_TASK_SPEC = b"t"  # task -> canonical JSON of its specification
KIND_TASK = b"T"  # task -> its moving parts (see chain/operations/tasks.py)
KIND_ROUND = b"r"  # task, round (u32) -> the round
KIND_UPDATE = b"u"  # sealed root -> (task, round, place) of the update that committed it last
KIND_CUSTODIAN = b"c"  # task, address -> custodian
KIND_MINER = b"m"  # task, address -> totals and harm streak of a miner
KIND_VALIDATOR = b"v"  # address -> power, bond, registration
KIND_VOTE_KEY = b"k"  # vote address -> the other account that registered with it
KIND_GLOBAL = b"g"  # name -> what there is one of


class View(Protocol):
    """Read access to a state: the store at the tip, or at a height it still keeps."""

    def get(self, key: bytes) -> bytes | None: ...


class Account:
    """An account while a block executes: nonce and balance, mutable, and as which it was read."""

    __slots__ = ("balance", "nonce", "read")

    def __init__(self, nonce: int, balance: int) -> None:
        self.nonce = nonce
        self.balance = balance
        self.read = nonce, balance


def encode_account(nonce: int, balance: int) -> bytes:
    return pack((nonce, amount_to_bytes(balance)))


def decode_account(value: bytes) -> tuple[int, int]:
    nonce, balance = expect_array(unpack(value, bytes_max=64), 2, "an account")
    return expect_int(nonce, "nonce"), amount_from_bytes(balance)


class WorkingState:
    """Writes over a view; nothing reaches the view. `changes()` is what to commit, `None` for a deletion.

    Reads see earlier writes. A contract call works on a `child` and is merged only if it succeeds.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._accounts: dict[bytes, Account] = {}
        self._values: dict[bytes, bytes | None] = {}

    def account(self, address: bytes) -> Account:
        """The account to read and to write, the empty one if there is none."""
        account = self._accounts.get(address)
        if account is None:
            stored = self._view.get(KIND_ACCOUNT + address)
            account = Account(*decode_account(stored)) if stored is not None else Account(0, 0)
            self._accounts[address] = account
        return account

    def get(self, key: bytes) -> bytes | None:
        if key[:1] == KIND_ACCOUNT:
            account = self.account(key[1:])
            return encode_account(account.nonce, account.balance) if account.nonce or account.balance else None
        if key in self._values:
            return self._values[key]
        return self._view.get(key)

    def put(self, key: bytes, value: bytes | None) -> None:
        assert key[:1] != KIND_ACCOUNT, "accounts are written through account()"
        self._values[key] = value

    def child(self) -> WorkingState:
        """A working copy of this one, to be merged or forgotten."""
        return WorkingState(self)

    def merge(self, child: WorkingState) -> None:
        """Take over everything that a child of this state wrote."""
        for address, account in child._accounts.items():
            own = self.account(address)
            own.nonce, own.balance = account.nonce, account.balance
        self._values.update(child._values)

    def changes(self) -> dict[bytes, bytes | None]:
        """Flat key -> new value (None: gone), sorted by key; only what really differs from the view."""
        get = self._view.get
        changed = {key: value for key, value in self._values.items() if get(key) != value}
        for address, account in self._accounts.items():
            nonce, balance = account.nonce, account.balance
            if (nonce, balance) != account.read:
                changed[KIND_ACCOUNT + address] = encode_account(nonce, balance) if nonce or balance else None
        return dict(sorted(changed.items()))
