// pg-boss, woken by LISTEN and NOTIFY, taking jobs in batches and going on at once while the batches are full.

import { PgBoss } from "pg-boss";
import { answer, inChunks, paced, say, Starts, terminated } from "../adapter.mjs";

const QUEUE = "bench";

async function boss({ dsn, pool }, more = {}) {
  const started = new PgBoss({ connectionString: dsn, max: pool, ...more });
  started.on("error", (error) => process.stderr.write(`${error}\n`));
  await started.start();
  return started;
}

// A boss that sends and does not look after the queues.
const sender = (options) => boss(options, { supervise: false, schedule: false, migrate: false });

async function setup(options) {
  const started = await boss(options, { supervise: false, schedule: false });
  await started.createQueue(QUEUE, { notify: true });
  await started.stop();
  say({ done: true });
}

async function work(options) {
  const starts = new Starts();
  const started = await boss(options, { useListenNotify: true });
  await started.work(
    QUEUE,
    { batchSize: options.batch, localConcurrency: options.concurrency, burstWhenBatchFull: true },
    async (jobs) => {
      for (const job of jobs) starts.note(job.data.number);
    },
  );
  say({ ready: true });
  await terminated();
  await started.stop({ graceful: true });
  say({ report: { starts: starts.all } });
}

async function pace(options) {
  const started = await sender(options);
  say({ report: { events: await paced(options.count, options.rate, (number) => started.send(QUEUE, { number })) } });
}

async function enqueue(options, chunk) {
  const started = await sender(options);
  const send = (numbers) => started.insert(QUEUE, numbers.map((number) => ({ data: { number } })));
  say({ report: await inChunks(options.count, chunk, send) });
}

await answer({
  setup,
  work,
  pace,
  fill: (options) => enqueue(options, options.count),
  bulk: (options) => enqueue(options, options.chunk),
});
