// Drives tronweb, unchanged, against a node:
//   node tronweb.mjs <url> <private key> <token contract> <receiver> <Token.json> <a token of TRON's own compiler.json>
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

const [url, privateKey, token, receiver, artifactPath, tronArtifactPath] = process.argv.slice(2);
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

// As hex, of which the node prints the transaction as JSON text.
const small = await tronWeb.trx.sign(await tronWeb.transactionBuilder.sendTrx(receiver, 7, me));
const asPb = tronWeb.utils.transaction.txJsonToPb(small);
asPb.addSignature(Uint8Array.from(Buffer.from(small.signature[0], "hex")));
const asHex = await tronWeb.trx.broadcastHex(Buffer.from(asPb.serializeBinary()).toString("hex"));
report.hex = { accepted: asHex.result, txid: asHex.txid, wanted: small.txID,
  contract: asHex.transaction.raw_data.contract[0], signature: asHex.transaction.signature[0] === small.signature[0].toLowerCase() };

// A contract that TRON's own compiler made.
const tronArtifact = JSON.parse(readFileSync(tronArtifactPath, "utf8"));
const tronCreation = await tronWeb.transactionBuilder.createSmartContract({
  abi: tronArtifact.abi, bytecode: tronArtifact.bytecode, feeLimit: 1_000_000_000, parameters: [1000], name: "Fee",
}, me);
await tronWeb.trx.sendRawTransaction(await tronWeb.trx.sign(tronCreation));
const third = await tronWeb.contract(tronArtifact.abi, tronCreation.contract_address);
await third.transfer(receiver, 300).send({ feeLimit: 100_000_000 });
report.tronCompiler = { balance: String(await third.balanceOf(receiver).call()),
  energyOfCreation: (await tronWeb.transactionBuilder.deployConstantContract({
    input: tronArtifact.bytecode + "0".repeat(64), ownerAddress: me })).energy_required > 0,
  info: (await tronWeb.trx.getContractInfo(tronCreation.contract_address)).runtimecode === tronArtifact.runtime };

// A view function with a permission, signed and sent.
const asked = await tronWeb.transactionBuilder.triggerConstantContract(tronCreation.contract_address,
  "calcFee(uint256)", { permissionId: 2 }, [{ type: "uint256", value: 5 }], me);
report.constant = { permission: asked.transaction.raw_data.contract[0].Permission_id,
  sent: (await tronWeb.trx.sendRawTransaction(await tronWeb.trx.sign(asked.transaction))).result };

// Two of two keys, and what one of them weighs.
const second_ = await tronWeb.createAccount();
const keys = [me, second_.address.base58].map((address) => ({ address: tronWeb.address.toHex(address), weight: 1 }));
const update = await tronWeb.transactionBuilder.updateAccountPermissions(me,
  { type: 0, permission_name: "owner", threshold: 2, keys }, undefined,
  [{ type: 2, permission_name: "active0", threshold: 2, keys,
    operations: "7fff1fc0033ec107000000000000000000000000000000000000000000000000" }]);
report.update = (await tronWeb.trx.sendRawTransaction(await tronWeb.trx.sign(update))).result;
const owned = await tronWeb.transactionBuilder.freezeBalanceV2(1_000_000, "ENERGY", me);
const another = await tronWeb.transactionBuilder.freezeBalanceV2(2_000_000, "ENERGY", me);
const alone = await tronWeb.trx.multiSign(owned, privateKey, 2);
const weight = await tronWeb.trx.getSignWeight(alone);
const together = await tronWeb.trx.multiSign(alone, second_.privateKey, 2);
report.weights = { alone: weight.result.code, current: weight.current_weight,
  together: (await tronWeb.trx.getSignWeight(together)).result,
  refused: (await tronWeb.trx.sendRawTransaction(await tronWeb.trx.multiSign(another, privateKey, 2))).code,
  accepted: (await tronWeb.trx.sendRawTransaction(together)).result,
  frozen: (await tronWeb.trx.getUnconfirmedAccount(me)).frozenV2[1].amount };
console.log(JSON.stringify(report));
