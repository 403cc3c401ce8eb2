// What the adapters on Node.js share: their command line, what they say, and a steady pace. The same as bench/adapter.py.

import { parseArgs } from "node:util";
import { setTimeout as sleep } from "node:timers/promises";

const PROGRESS = 1000;

// One line of JSON for the runner.
export function say(values) {
  process.stdout.write(JSON.stringify(values) + "\n");
}

// ns of the monotonic clock, which all processes share.
export function now() {
  return Number(process.hrtime.bigint());
}

// When the handler was called, and for which event.
export class Starts {
  all = [];

  note(number) {
    this.all.push([number, now()]);
    if (this.all.length % PROGRESS === 0) say({ handled: this.all.length });
  }
}

// Call `send` with 1, 2, … count, `rate` times a second; a late one is not made up for.
export async function paced(count, rate, send) {
  const interval = 1e9 / rate;
  const events = [];
  let due = now() + interval;
  for (let number = 1; number <= count; number++) {
    const wait = (due - now()) / 1e6;
    if (wait > 0) await sleep(wait);
    due = Math.max(due + interval, now());
    const before = now();
    await send(number);
    events.push([number, before, now()]);
  }
  return events;
}

// `count` jobs, `chunk` in one call; the times around all of them.
export async function inChunks(count, chunk, send) {
  const before = now();
  for (let start = 1; start <= count; start += chunk) {
    const end = Math.min(start + chunk, count + 1);
    await send(Array.from({ length: end - start }, (_, place) => start + place));
  }
  return { before, after: now(), rows: count };
}

// Run the action that the command line names (bench/contestants.py says what each is).
export async function answer(actions) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      count: { type: "string", default: "1000" },
      rate: { type: "string", default: "50" },
      chunk: { type: "string", default: "1000" },
      wallets: { type: "string" },
      batch: { type: "string", default: "1" },
      concurrency: { type: "string", default: "1" },
      pool: { type: "string", default: "10" },
    },
  });
  const [action, dsn] = positionals;
  if (!(action in actions)) throw new Error(`no action ${action}: one of ${Object.keys(actions)}`);
  const numbers = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, Number(value)]));
  await actions[action]({ dsn, ...numbers });
  // A pipe is written to in the background: an exit would cut off a long report.
  process.stdout.write("", () => process.exit(0));
}

// Resolves at SIGTERM.
export function terminated() {
  return new Promise((resolve) => process.once("SIGTERM", resolve));
}
