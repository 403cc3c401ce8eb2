import sys, os, time, asyncio
from pathlib import Path
os.environ["FLAGPOST_ENV_FILE"]=os.devnull
from tests.conftest import temporary_home, TEST_SERVER
from pipeline.db.embedded import EmbeddedServer
from pipeline.db.migrate import migrate
from tests.simulation.database import Database, SERVER
from tests.simulation import run as runmod, seams
import psycopg, logging; logging.getLogger("psycopg").setLevel(logging.CRITICAL)
os.environ["FLAGPOST_MNEMONIC"]=runmod.MNEMONIC
with temporary_home() as path, EmbeddedServer(path, settings=TEST_SERVER|SERVER) as server:
    asyncio.run(migrate(server.dsn))
    Database.prepare(server.dsn)
    db = Database(server.dsn)
    verbose = "-v" in sys.argv
    seeds=[int(a) for a in sys.argv[1].split("-")]
    with seams.joined():
        for seed in range(seeds[0], seeds[-1]+1):
            r = runmod.run(seed, db, told=print if verbose else None)
            print(seed, "FAILED" if r.failed else "ok", r.verdict[:5], dict(r.happened), r.payments, r.steps, f"{r.seconds:.0f}s", f"{r.real_seconds:.3f}")
            if verbose and r.failed:
                for d in r.decisions: print("   ", d)
                for k,v in (r.picture or {}).items():
                    print(k)
                    for row in v: print("   ", row)
