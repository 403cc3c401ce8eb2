import sys, os, asyncio, hashlib
os.environ["FLAGPOST_ENV_FILE"]=os.devnull
from tests.conftest import temporary_home, TEST_SERVER
from pipeline.db.embedded import EmbeddedServer
from pipeline.db.migrate import migrate
from tests.simulation.database import Database, SERVER, Connection
from tests.simulation import run as runmod, seams, simulation
import logging; logging.getLogger("psycopg").setLevel(logging.CRITICAL)
os.environ["FLAGPOST_MNEMONIC"]=runmod.MNEMONIC
out=[]
oa=Connection._ask
async def ask(self, backend, gen):
    q=gen.gi_frame.f_locals.get("query"); q=q[:60] if isinstance(q,str) else gen.__name__
    p=gen.gi_frame.f_locals.get("params")
    out.append(f"   {self.owner.name} ask {q!r} {str(p)[:300]}")
    r=await oa(self,backend,gen)
    pg=self.pgconn
    cur=gen.gi_frame
    out.append(f"   {self.owner.name} got {type(r).__name__} {getattr(r,'ntuples','')} ids {self.database.plain.execute('select last_value from sim.ids').fetchone()[0]}")
    return r
Connection._ask=ask
os_=simulation.Simulation._as
def as_(self, process, what):
    h=process.loop.ready[0] if process.loop.ready else None
    out.append(f"{self.clock.now} {self.steps} {process.name} {h._callback.__qualname__ if h and hasattr(h._callback,'__qualname__') else ''} {len(process.loop.ready)}")
    return os_(self,process,what)
simulation.Simulation._as=as_
with temporary_home() as path, EmbeddedServer(path, settings=TEST_SERVER|SERVER) as server:
    asyncio.run(migrate(server.dsn))
    Database.prepare(server.dsn)
    db = Database(server.dsn)
    with seams.joined():
        runs=[]
        for i in range(5):
            out.clear()
            r=runmod.run(int(sys.argv[1]), db); print(r.steps, r.verdict)
            runs.append(list(out))
for k in range(1,5):
    a,b=runs[0],runs[k]
    for n,(x,y) in enumerate(zip(a,b)):
        if x!=y:
            print("diverge at",n,"of",len(a)); print("\n".join(s[:400] for s in a[max(0,n-12):n+4])); print("----"); print("\n".join(s[:400] for s in b[max(0,n-4):n+4])); break
