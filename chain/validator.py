"""Home of a node's own account as a validator: its duties toward the learning contract become transactions."""

from __future__ import annotations

import asyncio
import logging

from chain import contract
from chain.blobs import BlobStore
from chain.crypto import address_of
from chain.duties import Duty, due
from chain.evaluations import Evaluations
from chain.executor import Chain
from chain.intake import Intake
from chain.ledger import next_base_fee
from chain.node import Committed
from chain.signing import Fields, sign_transaction
from chain.transactions import intrinsic_gas_of
from chain.types import CONTRACT_ADDRESS, GWEI

log = logging.getLogger("lyceum.validator")

RESEND_BLOCKS = 5  # a call without effect after so many blocks is sent again
REMEMBERED_MAX = 1024
BASE_FEE_GROWTH = 16  # which a call survives: 24 full blocks; one that can't be included holds up all after it


class Validator:
    """Sends what is due for the account of `key`, once; on the event loop."""

    def __init__(self, chain: Chain, blobs: BlobStore, evaluations: Evaluations, intake: Intake, key: bytes) -> None:
        self._chain, self._blobs, self._evaluations, self._intake = chain, blobs, evaluations, intake
        self._key = key
        self._address = address_of(key)
        self._sent: dict[tuple[str, bytes, int, int], int] = {}  # duty -> height at which it was sent
        self._sending: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()  # of sending: the next nonce is known when what was sent before is in the pool

    def committed(self, _: Committed) -> None:
        self.do_what_is_due()

    def do_what_is_due(self) -> None:
        """Send the duties of the next block that were not sent lately."""
        height = self._chain.tip.height
        duties = due(
            self._chain.store,
            height + 1,
            self._address,
            blob_size=self._blobs.size,
            records=self._evaluations.records,
        )
        fresh = [duty for duty in duties if self._sent.get(duty.name, -RESEND_BLOCKS) + RESEND_BLOCKS <= height]
        if not fresh:
            return
        while len(self._sent) > REMEMBERED_MAX:
            self._sent.pop(next(iter(self._sent)))
        self._sent |= {duty.name: height for duty in fresh}
        task = asyncio.get_running_loop().create_task(self._send(fresh))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

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
