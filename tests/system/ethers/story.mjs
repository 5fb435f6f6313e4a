// Home of what an ethers user does with a node: transfers, receipts, views, events, errors, subscriptions.
// node story.mjs URL WEBSOCKET_URL PRIVATE_KEY; exits with 0 if everything is as ethers' users expect it.
import assert from "node:assert/strict";
import { Contract, JsonRpcProvider, NonceManager, Wallet, WebSocketProvider, ZeroHash, hexlify, randomBytes } from "ethers";

const [url, websocketUrl, key] = process.argv.slice(2);
const CONTRACT = "0x00000000000000000000000000004c796365756d";
const OTHER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

// Blocks come faster here than ethers forgets an answer (250 ms), so it is told to remember none.
const provider = new JsonRpcProvider(url, undefined, { pollingInterval: 100, cacheTimeout: -1 });
const wallet = new Wallet(key, provider);
const tasks = await provider.send("learn_tasks", []);
const abi = await provider.send("learn_abi", []);
const contract = new Contract(CONTRACT, abi, wallet);

async function transfersOfEachKind() {
  const before = await provider.getBalance(OTHER);
  const accessList = [{ address: OTHER, storageKeys: [ZeroHash] }];
  for (const fields of [{ type: 0 }, { type: 1, accessList }, { type: 2 }]) {
    const sent = await wallet.sendTransaction({ to: OTHER, value: 3n, ...fields });
    const receipt = await sent.wait(1, 20_000);
    assert.equal(receipt.status, 1);
    const shown = await provider.getTransaction(sent.hash);
    assert.equal(shown.type, fields.type);
    assert.equal(shown.from, wallet.address);
    assert.equal(shown.value, 3n);
    assert.equal(shown.blockHash, receipt.blockHash);
    const block = await provider.getBlock(receipt.blockNumber, true);
    assert.equal(block.prefetchedTransactions[receipt.index].hash, sent.hash);
  }
  assert.equal(await provider.getBalance(OTHER), before + 9n);
}

async function readsSideBySide() {
  const network = await provider.getNetwork();
  const [number, fees, block, pending, code, nothing, missing, logs] = await Promise.all([
    provider.getBlockNumber(),
    provider.getFeeData(),
    provider.getBlock("latest"),
    provider.getBlock("pending"),
    provider.getCode(CONTRACT),
    provider.getCode(OTHER),
    provider.getTransactionReceipt(ZeroHash),
    provider.getLogs({ address: CONTRACT, fromBlock: 0 }),
  ]);
  assert.equal(network.chainId, 1280918341n);
  assert.ok(number > 0 && block.number >= number - 1);
  assert.ok(fees.maxFeePerGas >= fees.maxPriorityFeePerGas);
  assert.ok(pending.number > 0 && pending.hash === null);
  assert.notEqual(code, "0x");
  assert.equal(nothing, "0x");
  assert.equal(missing, null);
  assert.ok(Array.isArray(logs));
}

async function viewsAndReverts() {
  const task = await contract.getFunction("task")(tasks[0].task);
  assert.equal(JSON.parse(task.spec).name, tasks[0].name);
  assert.equal(task.escrow, 0n);
  const [accounts, power] = await contract.validators();
  assert.equal(accounts.length, 1);
  assert.equal((await contract.powerOf(accounts[0])).power, power[0]);
  await assert.rejects(contract.head(ZeroHash), (error) => error.code === "CALL_EXCEPTION" && error.reason.length > 5);
  await assert.rejects(
    contract.revealUpdate(ZeroHash, 0, ZeroHash, ZeroHash),
    (error) => error.code === "CALL_EXCEPTION" && error.action === "estimateGas",
  );
}

async function errorsThatEthersKnows() {
  const balance = await provider.getBalance(wallet.address);
  await assert.rejects(wallet.sendTransaction({ to: OTHER, value: balance, gasLimit: 21_000 }), { code: "INSUFFICIENT_FUNDS" });
  await assert.rejects(wallet.sendTransaction({ to: OTHER, nonce: 0 }), { code: "NONCE_EXPIRED" });
  const fields = { to: OTHER, gasLimit: 21_000, maxFeePerGas: 10n ** 11n, maxPriorityFeePerGas: 2n * 10n ** 9n };
  const nonce = await wallet.getNonce("pending");
  const waiting = await wallet.sendTransaction({ ...fields, nonce: nonce + 1 });  // behind a gap, so that it stays
  await assert.rejects(wallet.sendTransaction({ ...fields, nonce: nonce + 1, value: 1n }), { code: "REPLACEMENT_UNDERPRICED" });
  await wallet.sendTransaction({ ...fields, nonce });
  assert.equal((await waiting.wait(1, 20_000)).status, 1);
  await assert.rejects(wallet.sendTransaction({ data: "0x6000", gasLimit: 90_000 }), /contract creation is not supported/);
  await assert.rejects(provider.send("eth_fillTransaction", [{}]), { code: "UNSUPPORTED_OPERATION" });
}

async function manyTransfersInBatches() {
  const manager = new NonceManager(wallet);
  const sent = await Promise.all(
    Array.from({ length: 4 }, () => manager.sendTransaction({ to: OTHER, value: 1n, gasLimit: 21_000 })),
  );
  const receipts = await Promise.all(sent.map((each) => each.wait(1, 20_000)));
  assert.ok(receipts.every((receipt) => receipt.status === 1));
}

async function eventsOverAWebSocket() {
  const live = new WebSocketProvider(websocketUrl);
  const heads = [];
  live.on("block", (number) => heads.push(number));
  const listening = new Contract(CONTRACT, abi, live);
  const sealedRoot = hexlify(randomBytes(32));
  const heard = new Promise((resolve) => {
    listening.on("UpdateCommitted", (task, miner, round, root, event) => {
      if (root === sealedRoot) resolve({ task, miner, round, event });
    });
  });
  await live.getBlockNumber();
  const receipt = await (await commitUpdate(sealedRoot)).wait(1, 20_000);
  const { task, miner, event } = await heard;
  assert.equal(task, tasks[0].task);
  assert.equal(miner, wallet.address);
  assert.equal(event.log.transactionHash, receipt.hash);
  const found = await contract.queryFilter(contract.filters.UpdateCommitted(null, wallet.address), receipt.blockNumber);
  assert.deepEqual(found.map((each) => each.args.sealedRoot), [sealedRoot]);
  assert.ok(heads.length > 0);
  await live.destroy();
}

// Commits an update in the next commit phase; nobody holds its blob, so its bond will come back.
async function commitUpdate(sealedRoot) {
  for (;;) {
    const task = await provider.send("learn_task", [tasks[0].task]);
    const value = BigInt(task.evaluationFee) + BigInt(task.bondMinimum);
    try {
      return await contract.commitUpdate(task.task, task.round, task.head, sealedRoot, 1000, ZeroHash, { value });
    } catch (error) {
      if (error.code !== "CALL_EXCEPTION" || !/no updates are taken|takes no updates/.test(error.reason)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

for (const step of [transfersOfEachKind, readsSideBySide, viewsAndReverts, manyTransfersInBatches, eventsOverAWebSocket, errorsThatEthersKnows]) {
  await step();
  console.log(`${step.name}: done`);
}
provider.destroy();
