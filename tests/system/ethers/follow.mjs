// Home of an ethers user who follows the contract's Rewarded events over a WebSocket, and writes each as a line of JSON.
// node follow.mjs URL WEBSOCKET_URL; says "ready" when it listens; ends when its input does.
import { Contract, JsonRpcProvider, WebSocketProvider } from "ethers";

const [url, websocketUrl] = process.argv.slice(2);
const CONTRACT = "0x00000000000000000000000000004c796365756d";

const provider = new JsonRpcProvider(url);
const abi = await provider.send("learn_abi", []);
provider.destroy();

const live = new WebSocketProvider(websocketUrl);
const contract = new Contract(CONTRACT, abi, live);
await contract.on("Rewarded", (task, miner, round, contribution, amount, event) => {
  const line = { task, miner: miner.toLowerCase(), round: Number(round), amount: amount.toString(), transaction: event.log.transactionHash };
  console.log(JSON.stringify(line));
});
await live.getBlockNumber();
console.log("ready");

process.stdin.resume();
process.stdin.on("end", async () => {
  await live.destroy();
  process.exit(0);
});
