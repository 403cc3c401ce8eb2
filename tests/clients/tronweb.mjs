// Drives tronweb, unchanged, against a node: node tronweb.mjs <url> <private key> <token contract> <receiver> <Token.json>
// Prints one JSON object of what tronweb says happened.
import { readFileSync } from "node:fs";
import { TronWeb } from "tronweb";

async function refused(act) {
  try {
    await act();
  } catch (error) {
    return String(error.message ?? error);
  }
  return "not refused";
}

const [url, privateKey, token, receiver, artifactPath] = process.argv.slice(2);
const tronWeb = new TronWeb({ fullHost: url, privateKey });
const me = tronWeb.defaultAddress.base58;
const report = { me };

const sent = await tronWeb.trx.sendTransaction(receiver, 1_500_000);
report.coin = { accepted: sent.result, txid: sent.txid ?? sent.transaction.txID };
report.coin.info = await tronWeb.trx.getTransactionInfo(report.coin.txid);
report.coin.unconfirmed = await tronWeb.trx.getUnconfirmedTransactionInfo(report.coin.txid);
report.balance = await tronWeb.trx.getUnconfirmedBalance(receiver);
report.solidBalance = await tronWeb.trx.getBalance(receiver);

const contract = await tronWeb.contract().at(token);
report.symbol = await contract.symbol().call();
report.decimals = Number(await contract.decimals().call());
report.before = String(await contract.balanceOf(receiver).call());
report.token = { txid: await contract.transfer(receiver, 2_000_000).send({ feeLimit: 100_000_000 }) };
report.token.info = await tronWeb.trx.getUnconfirmedTransactionInfo(report.token.txid);
report.after = String(await contract.balanceOf(receiver).call());

report.revert = await refused(() => tronWeb.transactionBuilder.triggerConstantContract(
  token, "transfer(address,uint256)", {},
  [{ type: "address", value: receiver }, { type: "uint256", value: "1000000000000000" }], me));
const energy = await tronWeb.transactionBuilder.estimateEnergy(
  token, "transfer(address,uint256)", {},
  [{ type: "address", value: receiver }, { type: "uint256", value: 1 }], me);
report.energy = energy.energy_required;

const artifact = JSON.parse(readFileSync(artifactPath, "utf8"));
const creation = await tronWeb.transactionBuilder.createSmartContract({
  abi: artifact.abi, bytecode: artifact.bytecode, feeLimit: 1_000_000_000,
  parameters: ["Second", "TWO", 6, 42], name: "Second",
}, me);
const signedCreation = await tronWeb.trx.sign(creation);
const created = await tronWeb.trx.sendRawTransaction(signedCreation);
report.creation = { accepted: created.result, address: creation.contract_address,
  info: await tronWeb.trx.getUnconfirmedTransactionInfo(signedCreation.txID) };
const second = await tronWeb.contract(artifact.abi, creation.contract_address);
report.secondBalance = String(await second.balanceOf(me).call());

const head = await tronWeb.trx.getCurrentBlock();
report.head = head.block_header.raw_data.number;
const block = await tronWeb.trx.getBlock(report.token.info.blockNumber);
report.blockTransactions = block.transactions.map((tx) => tx.txID);
report.blocks = (await tronWeb.trx.getBlockRange(0, 2)).map((b) => b.blockID);
const read = await tronWeb.trx.getTransaction(report.token.txid);
report.ret = read.ret[0].contractRet;
report.account = await tronWeb.trx.getUnconfirmedAccount(me);
report.resources = await tronWeb.trx.getAccountResources(me);
report.bandwidth = await tronWeb.trx.getBandwidth(me);
report.parameters = (await tronWeb.trx.getChainParameters()).length;
report.node = (await tronWeb.trx.getNodeInfo()).block;
report.second = tronWeb.address.fromHex(created.transaction.contract_address);
report.missingBlock = await refused(() => tronWeb.trx.getBlock(10_000_000));
const tooMuch = await tronWeb.transactionBuilder.sendTrx(receiver, 9_000_000_000_000, me);
report.tooMuch = await tronWeb.trx.sendRawTransaction(await tronWeb.trx.sign(tooMuch));
console.log(JSON.stringify(report));
