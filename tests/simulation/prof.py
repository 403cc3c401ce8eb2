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
        for seed in range(1,4): runmod.run(seed, db)
        t=time.process_time(); w=time.perf_counter()
        N=10
        p=cProfile.Profile() if "-p" in sys.argv else None
        if p: p.enable()
        st=0
        for seed in range(11,11+N): st+=runmod.run(seed, db).steps
        if p: p.disable()
        print("cpu/run", (time.process_time()-t)/N, "wall", (time.perf_counter()-w)/N, "steps", st/N)
        # backend cpu
        import subprocess
        print(subprocess.run("ps -eo pid,ppid,time,cputimes,args --sort=-cputimes | grep 'postgres: ' | grep -v grep | grep simul | head -30",shell=True,capture_output=True,text=True).stdout)
        print(db.plain.execute("select count(*), sum(xact_commit) from pg_stat_database").fetchall())
        if p: pstats.Stats(p).sort_stats("tottime").print_stats(45)
