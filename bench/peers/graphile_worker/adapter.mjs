// graphile-worker, with the settings that its page on performance names: many jobs at once, a local queue, and
// completions in batches.

import { makeWorkerUtils, run, Logger } from "graphile-worker";
import { answer, inChunks, paced, say, Starts, terminated } from "../adapter.mjs";

const TASK = "bench";
const logger = new Logger(() => (level, message) => {
  if (level === "error") process.stderr.write(`${message}\n`);
});

async function withUtils({ dsn }, action) {
  const utils = await makeWorkerUtils({ connectionString: dsn, logger });
  try {
    return await action(utils);
  } finally {
    await utils.release();
  }
}

const specs = (numbers) => numbers.map((number) => ({ identifier: TASK, payload: { number } }));

async function setup(options) {
  await withUtils(options, (utils) => utils.migrate());
  say({ done: true });
}

async function work({ dsn, batch, concurrency, pool }) {
  const starts = new Starts();
  const runner = await run({
    preset: {
      worker: {
        connectionString: dsn,
        concurrentJobs: concurrency,
        maxPoolSize: pool,
        localQueue: { size: batch },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
        logger,
      },
    },
    noHandleSignals: true,
    taskList: { [TASK]: async (payload) => starts.note(payload.number) },
  });
  say({ ready: true });
  await terminated();
  await runner.stop();
  say({ report: { starts: starts.all } });
}

async function pace(options) {
  await withUtils(options, async (utils) => {
    const send = (number) => utils.addJob(TASK, { number });
    say({ report: { events: await paced(options.count, options.rate, send) } });
  });
}

async function enqueue(options, chunk) {
  await withUtils(options, async (utils) => {
    say({ report: await inChunks(options.count, chunk, (numbers) => utils.addJobs(specs(numbers))) });
  });
}

await answer({
  setup,
  work,
  pace,
  fill: (options) => enqueue(options, options.count),
  bulk: (options) => enqueue(options, options.chunk),
});
