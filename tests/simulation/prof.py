import sys, os, time, asyncio, cProfile, pstats, resource
os.environ["FLAGPOST_ENV_FILE"]=os.devnull
from tests.conftest import temporary_home, TEST_SERVER
from pipeline.db.embedded import EmbeddedServer
from pipeline.db.migrate import migrate
from tests.simulation.database import Database, SERVER
from tests.simulation import run as runmod, seams
import logging; logging.getLogger("psycopg").setLevel(logging.CRITICAL)
os.environ["FLAGPOST_MNEMONIC"]=runmod.MNEMONIC
with temporary_home() as path, EmbeddedServer(path, settings=TEST_SERVER|SERVER) as server:
    asyncio.run(migrate(server.dsn))
    Database.prepare(server.dsn)
    db = Database(server.dsn)
    with seams.joined():
        for seed in (1,2,3,4,5): runmod.run(seed, db)
        import gc; gc.collect(); gc.freeze()
        p=cProfile.Profile(time.process_time)
        t0=time.process_time(); w=time.perf_counter()
        if sys.argv[1:]: p.enable()
        steps=0
        for seed in range(11,25):
            r=runmod.run(seed, db); steps+=r.steps
        p.disable()
        print("cpu/run", (time.process_time()-t0)/14, "wall/run", (time.perf_counter()-w)/14, "steps", steps/14)
        if sys.argv[1:]: pstats.Stats(p).sort_stats("tottime").print_stats(35)
