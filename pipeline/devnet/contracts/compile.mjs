// Compiles every *.sol of the rooms below to <Name>.json (contract, compiler, abi, bytecode) beside its source.
//
//   node pipeline/devnet/contracts/compile.mjs           writes the files
//   node pipeline/devnet/contracts/compile.mjs --check   exits 1 if a committed file differs from what its source gives
//
// The compiler is the npm package solc, pinned in tests/clients (run `npm ci` there first).
// evmVersion paris: no PUSH0, so that the byte code also runs on nodes without the Shanghai instructions.
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "..");
const rooms = ["pipeline/devnet/contracts", "pipeline/chains/contracts", "tests/chains/evm/contracts"];
const requireClient = createRequire(join(root, "tests", "clients", "package.json"));

let solc;
try {
  solc = requireClient("solc");
} catch (error) {
  console.error(`solc is not installed: run \`npm ci\` in tests/clients first (${error.message.split("\n")[0]})`);
  process.exit(2);
}

function compile(path) {
  const file = relative(root, path);
  const input = {
    language: "Solidity",
    sources: { [file]: { content: readFileSync(path, "utf8") } },
    settings: {
      evmVersion: "paris",
      optimizer: { enabled: true, runs: 200 },
      metadata: { bytecodeHash: "none", appendCBOR: false },
      outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
    },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  const problems = output.errors ?? [];
  if (problems.length > 0) {
    for (const problem of problems) console.error(problem.formattedMessage);
    process.exit(1);
  }
  // An abstract contract has no code of its own.
  const whole = Object.entries(output.contracts[file]).filter(([, built]) => built.evm.bytecode.object !== "");
  return whole.map(([contract, built]) => ({
    contract,
    text: `${JSON.stringify({
      contract,
      compiler: `solc ${solc.version()}, paris, optimizer 200 runs`,
      abi: built.abi,
      bytecode: built.evm.bytecode.object,
      runtime: built.evm.deployedBytecode.object,
    }, null, 1)}\n`,
  }));
}

const check = process.argv.includes("--check");
let stale = 0;
for (const room of rooms) {
  const folder = join(root, room);
  if (!existsSync(folder)) continue;
  for (const source of readdirSync(folder).filter((name) => name.endsWith(".sol")).sort()) {
    for (const { contract, text } of compile(join(folder, source))) {
      const target = join(folder, `${contract}.json`);
      const same = existsSync(target) && readFileSync(target, "utf8") === text;
      if (check && !same) {
        console.error(`${relative(root, target)} is not what ${source} compiles to: run \`make contracts\` and commit it`);
        stale += 1;
      } else if (!check && !same) {
        writeFileSync(target, text);
        console.log(`wrote ${relative(root, target)}`);
      }
    }
  }
}
process.exit(stale > 0 ? 1 : 0);
