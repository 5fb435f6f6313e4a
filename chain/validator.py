"""Home of a node's own part as a validator: its duties toward the learning contract become transactions."""

from __future__ import annotations

import asyncio
import logging

from chain import contract
from chain.crypto import address_of
from chain.duties import Duty, due, evidence_due, is_over
from chain.evaluations import Evaluations
from chain.executor import Chain
from chain.ledger import next_base_fee
from chain.node import Committed
from chain.operations.learning_store import acting_member, read_validator
from chain.operations.registration import account_behind, has_registered
from chain.pool.intake import Intake
from chain.signing import Fields, sign_transaction
from chain.storage.blobs import BlobStore
from chain.transactions import GAS_TRANSACTION, intrinsic_gas_of
from chain.types import COIN, CONTRACT_ADDRESS, GWEI
from consensus.types import Equivocation

log = logging.getLogger("lyceum.validator")

RESEND_BLOCKS = 5  # a call without effect after so many blocks is sent again
REMEMBERED_MAX = 1024
EVIDENCE_MAX = 64  # a node that is told more at a time tells the rest when some of it is executed
RESERVED_CALLS = 200  # attestations at the present price; whoever has coins for fewer is warned
WARN_AGAIN_BLOCKS = 600
BASE_FEE_GROWTH = 16  # which a call survives: 24 full blocks; one that can't be included holds up all after it


class Validator:
    """Sends what is due for the validator whose vote key is `key`, once, and pays its gas; on the event loop."""

    def __init__(self, chain: Chain, blobs: BlobStore, evaluations: Evaluations, intake: Intake, key: bytes) -> None:
        self._chain, self._blobs, self._evaluations, self._intake = chain, blobs, evaluations, intake
        self._key = key
        self._address = address_of(key)
        self._sent: dict[tuple[str, bytes, int, int], int] = {}  # duty -> height at which it was sent
        self._evidence: dict[bytes, Equivocation] = {}  # by voter: one proof is enough
        self._warned: dict[str, int] = {}  # of what -> at which height
        self._sending: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()  # of sending: the next nonce is known when what was sent before is in the pool

    def committed(self, _: Committed) -> None:
        self._warn_of_what_is_missing()
        self.do_what_is_due()

    def report(self, evidence: Equivocation) -> None:
        """Have an equivocation punished: what was heard is kept until it is executed or too old."""
        if bytes(evidence.first.voter) == self._address:
            log.error(
                "this node's vote key has signed twice at height %s: is it in use elsewhere?", evidence.first.height
            )
        elif len(self._evidence) < EVIDENCE_MAX:
            self._evidence.setdefault(bytes(evidence.first.voter), evidence)
            self.do_what_is_due()

    def do_what_is_due(self) -> None:
        """Send the duties of the next block that were not sent lately."""
        height = self._chain.tip.height
        duties = due(
            self._chain.store,
            height + 1,
            self._address,
            blob_size=self._blobs.size_of_content,
            records=self._evaluations.records,
        )
        duties += self._evidence_due(height + 1)
        fresh = [duty for duty in duties if self._sent.get(duty.name, -RESEND_BLOCKS) + RESEND_BLOCKS <= height]
        if not fresh:
            return
        while len(self._sent) > REMEMBERED_MAX:
            self._sent.pop(next(iter(self._sent)))
        self._sent |= {duty.name: height for duty in fresh}
        task = asyncio.get_running_loop().create_task(self._send(fresh))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def _evidence_due(self, height: int) -> list[Duty]:
        view, parameters = self._chain.store, self._chain.parameters
        for voter in [voter for voter, each in self._evidence.items() if is_over(view, height, each, parameters)]:
            del self._evidence[voter]
        found = [evidence_due(view, height, self._address, each) for each in self._evidence.values()]
        return [duty for duty in found if duty]

    def _warn_of_what_is_missing(self) -> None:
        """Coins for gas, and registration: without either the node looks well and earns nothing."""
        view = self._chain.store
        account = account_behind(view, self._address, self._chain.tip.height)
        validator = read_validator(view, account)
        out = has_registered(validator) and not validator.registered and not validator.withdraw_at
        self._warn_if(
            out,
            "registration",
            f"the validator 0x{account.hex()} is left out, as it was absent from over half of an epoch or its vote key "
            "was taken: call registerValidator again from that account",
        )
        balance, reserve = self._intake.account(self._address)[1], RESERVED_CALLS * self._price_of_attesting()
        self._warn_if(
            acting_member(view, self._address) is not None and balance < reserve,
            "coins",
            f"0x{self._address.hex()}, whose key votes here, has {balance / COIN:.4f} coins for the gas of its duties: "
            f"send it {max(1, 10 * reserve // COIN)} or more, or it attests nothing and is paid nothing",
        )

    def _warn_if(self, missing: bool, what: str, message: str) -> None:
        height = self._chain.tip.height
        if not missing:
            self._warned.pop(what, None)
        elif height >= self._warned.get(what, -WARN_AGAIN_BLOCKS) + WARN_AGAIN_BLOCKS:
            self._warned[what] = height
            log.warning("%s", message)

    def _price_of_attesting(self) -> int:
        parameters = self._chain.parameters
        return (2 * GAS_TRANSACTION + parameters.gas_attest) * (next_base_fee(self._chain.tip, parameters) + GWEI)

    async def _send(self, duties: list[Duty]) -> None:
        async with self._turn:
            nonce = self._intake.pool.pending_nonce(self._address, self._intake.account(self._address)[0])
            raws = [self._signed(duty, nonce + place) for place, duty in enumerate(duties)]
            outcomes = await self._intake.submit(raws)
        for duty, outcome in zip(duties, outcomes, strict=True):
            if isinstance(outcome, Exception):
                log.warning("%s was not taken by the pool: %s", duty.name[0], outcome)
                self._sent.pop(duty.name, None)

    def _signed(self, duty: Duty, nonce: int) -> bytes:
        parameters = self._chain.parameters
        gas = intrinsic_gas_of(duty.calldata) + contract.operation_gas(duty.calldata, parameters)
        fields = Fields(
            chain_id=self._chain.genesis.chain_id,
            nonce=nonce,
            max_priority_fee_per_gas=GWEI,
            max_fee_per_gas=BASE_FEE_GROWTH * next_base_fee(self._chain.tip, parameters) + GWEI,
            gas_limit=gas,
            to=CONTRACT_ADDRESS,
            data=duty.calldata,
        )
        return sign_transaction(fields, self._key).raw
