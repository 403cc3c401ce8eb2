"""What befalls the network, the database and the operators while a run lasts, at times drawn beforehand."""

import random
from collections.abc import Sequence

import psycopg

from tests.seed import USDT
from tests.simulation.fault_plan import Decision, a_while
from tests.simulation.simulation import Simulation

WEIGHTS = {
    "fork": 5,
    "lose pending": 3,
    "chain stands still": 2,
    "clock jumps": 2,
    "node down": 2,
    "node stale": 2,
    "node behind": 2,
    "node forgets": 1,
    "fees change": 1,
    "kill": 4,
    "freeze": 2,
    "stop": 2,
    "database restarts": 2,
    "doorbell lost": 2,
    "operator cancels": 2,
    "operator retries": 2,
    "operator cleans up": 2,
    "operator flips a flag": 3,
    "operator pauses": 1,
    "operator queues a job": 2,
    "deposit": 2,
}


def plan(seed: int, seconds: float, most: int) -> list[Decision]:
    """What happens when, in order."""
    dice = random.Random(f"{seed} storm")
    kinds = [kind for kind in WEIGHTS if dice.random() < 0.6] or ["kill"]
    moments = sorted(round(dice.uniform(0.0, seconds), 1) + place / 1000 for place in range(dice.randint(0, most)))
    weights = [WEIGHTS[kind] for kind in kinds]
    decisions = [
        Decision("storm", moment, dice.choices(kinds, weights)[0], a_while(dice), dice.randrange(1000))
        for moment in moments
    ]
    # So that something is always under way.
    for place in range(dice.choice([0, 0, 1, 2, 3])):
        moment = round(dice.uniform(0.1, 0.9) * seconds, 1) + (most + place) / 1000
        decisions.append(Decision("storm", moment, "deposit", dice=dice.randrange(1000)))
    return sorted(decisions, key=lambda decision: decision.at)


class Storm:
    """Carries out decisions on a simulation."""

    def __init__(self, simulation: Simulation, wallets: Sequence[str]) -> None:
        """``wallets`` are customers' addresses."""
        self._simulation = simulation
        self._wallets = wallets
        self._standing_still = 0
        self._lowered: set[str] = set()
        """Wallets whose flag an operator took away: it is theirs to have it looked at again."""
        self._produce()

    def befall(self, decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            self._simulation.after(
                decision.at - self._simulation.clock.now, lambda decision=decision: self._act(decision)
            )

    def end(self) -> None:
        """Everything is mended; what was lost stays lost."""
        simulation = self._simulation
        simulation.fault_plan.calm = True
        simulation.network.mend()
        self._standing_still = 0
        for process in simulation.processes:
            process.thaw()
        self._ask("DELETE FROM system_config WHERE key = 'paused'")
        for wallet in sorted(self._lowered):
            self._ask("INSERT INTO job_logs (job_id, job_type, wallet_address) VALUES (%s, 'sync', %s)", wallet, wallet)

    def _produce(self) -> None:
        if not self._standing_still:
            self._simulation.network.produce()
        self._simulation.after(self._simulation.network.block_seconds, self._produce)

    def _act(self, decision: Decision) -> None:
        simulation, network = self._simulation, self._simulation.network
        if simulation.fault_plan.calm:
            return
        simulation.tell("{}", decision)
        simulation.happened[decision.what] += 1
        simulation.fault_plan.taken.append(decision)
        match decision.what.split():
            case ["fork"]:
                network.fork(decision.dice)
            case ["lose", _]:
                network.lose_pending()
            case ["chain", *_]:
                self._stand_still(decision.seconds)
            case ["clock", _]:
                network.jump(decision.seconds * 2)
            case ["node", what]:
                network.disturb({"forgets": "forgotten"}.get(what, what), decision.dice)
                simulation.after(decision.seconds, network.mend)
            case ["fees", _]:
                network.price(decision.dice)
            case ["database", _]:
                self._restart_database(decision.seconds)
            case ["deposit"]:
                network.deposit(self._wallet(decision), (200 + decision.dice) * USDT)
            case ["operator", *what]:
                self._operate(" ".join(what), decision)
            case _:
                self._strike(decision)

    def _strike(self, decision: Decision) -> None:
        simulation = self._simulation
        running = [one for one in simulation.processes if not one.frozen]
        if not running:
            return
        victim = running[decision.dice % len(running)]
        match decision.what:
            case "kill":
                simulation.kill(victim)
                simulation.after(decision.seconds, lambda: simulation.start_again(victim.kind))
            case "freeze":
                simulation.freeze(victim, decision.seconds)
            case "stop":
                simulation.ask_to_stop(victim)
            case "doorbell lost":
                for doorbell in victim.doorbells:
                    doorbell.lose()
                simulation.after(min(decision.seconds, 30.0), lambda: simulation.find_doorbell(victim))

    def _stand_still(self, seconds: float) -> None:
        self._standing_still += 1

        def go_on() -> None:
            self._standing_still = max(0, self._standing_still - 1)

        self._simulation.after(seconds, go_on)

    def _restart_database(self, seconds: float) -> None:
        """All connections at once; it answers again at once, the doorbells are back a little later."""
        for process in list(self._simulation.processes):
            self._simulation.cut(process, seconds)

    def _wallet(self, decision: Decision) -> str:
        return self._wallets[decision.dice % len(self._wallets)]

    def _operate(self, what: str, decision: Decision) -> None:
        match what:
            case "cancels":
                live = self._ask(
                    "SELECT job_id FROM job_logs WHERE status IN ('pending', 'retrying', 'active') ORDER BY seq"
                )
                if live:
                    self._ask("SELECT cancel_job(%s)", live[decision.dice % len(live)][0])
            case "retries":
                self._ask("SELECT retry_failed_jobs(NULL, 24)")
            case "cleans up":
                self._ask("SELECT cleanup_stuck_jobs(1)")
            case "flips a flag":
                flag, up = ("needs_gas", "needs_consolidation")[decision.dice % 2], decision.dice % 3 > 0
                query = f"UPDATE user_wallets SET {flag} = %s WHERE address = %s"  # noqa: S608
                self._ask(query, up, self._wallet(decision))
                if not up:
                    self._lowered.add(self._wallet(decision))
            case "pauses":
                self._ask(
                    "INSERT INTO system_config (key, value) VALUES ('paused', 'true') "
                    "ON CONFLICT (key) DO UPDATE SET value = 'true'"
                )
                self._simulation.after(
                    decision.seconds, lambda: self._ask("DELETE FROM system_config WHERE key = 'paused'")
                )
            case "queues a job":
                self._ask(
                    "INSERT INTO job_logs (job_id, job_type, status, wallet_address) VALUES (%s, %s, 'pending', %s)",
                    f"by-hand-{decision.at}",
                    ("gas-topup", "consolidation", "sync")[decision.dice % 3],
                    self._wallet(decision),
                )

    def _ask(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        """As an operator at psql, who is refused now and then, and does not wait for long."""
        database = self._simulation.database
        database.tell_time()
        try:
            cursor = database.plain.execute(query, parameters)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            self._simulation.tell("  refused: {}", error)
            return []
        finally:
            database.transaction_ended()
