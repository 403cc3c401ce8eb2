import sys, os, time, asyncio, gc
from collections import Counter
os.environ["FLAGPOST_ENV_FILE"]=os.devnull
from tests.conftest import temporary_home, TEST_SERVER
from pipeline.db.embedded import EmbeddedServer
from pipeline.db.migrate import migrate
from tests.simulation.database import Database, SERVER, Connection
from tests.simulation import run as runmod, seams
import logging; logging.getLogger("psycopg").setLevel(logging.CRITICAL)
os.environ["FLAGPOST_MNEMONIC"]=runmod.MNEMONIC
import psycopg
counts=Counter(); times=Counter()
real=psycopg.AsyncCursor._execute_gen
orig_ask=Connection._ask
async def ask(self, backend, gen):
    name=gen.__name__
    fr=gen.gi_frame.f_locals.get("query")
    if isinstance(fr,str): name=fr[:60].split("*/")[0]
    counts[name]+=1
    t=time.perf_counter()
    try: return await orig_ask(self, backend, gen)
    finally: times[name]+=time.perf_counter()-t
Connection._ask=ask
with temporary_home() as path, EmbeddedServer(path, settings=TEST_SERVER|SERVER) as server:
    asyncio.run(migrate(server.dsn))
    Database.prepare(server.dsn)
    db = Database(server.dsn)
    with seams.joined():
        for seed in range(11,25): runmod.run(seed, db)
    for n,c in counts.most_common(60): print(f"{c/14:8.1f} {times[n]/14*1000:8.1f} ms  {n}")
    print(sum(counts.values())/14)
