"""Death is proved by blocks and not by a node's word: what was paid is never paid again."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import psycopg
import pytest

from pipeline.chains.errors import ChainUnavailable
from pipeline.chains.rpc.http import NodeConfig
from pipeline.chains.tron.provider import TronProvider
from pipeline.chains.values import Asset, BlockContent, BlockRef, Finality
from pipeline.db.errors import refused_by_guard
from pipeline.devnet.faults import FaultKind
from pipeline.queue.jobs import JobType
from tests.chaos.world import Desk, Interposed, World
from tests.seed import USDT, Wallet

GAS, CONSOLIDATION = JobType.GAS_TOPUP, JobType.CONSOLIDATION
LOOKUP = "gettransactioninfobyid"


async def called_dead(world: World, desk: Desk, *, wallets: int, long_ago: bool = False) -> None:
    """Top-ups that are final on the chain, and expired by the records; ``long_ago``: each an hour before the next."""
    for _ in range(wallets):
        await world.wallet(usdt=250 * USDT)
    await world.devnet.solidify()
    await world.connection.execute("UPDATE wallets SET needs_gas = true")
    await desk.settlement.round()
    await desk.run(GAS)
    await world.devnet.solidify()
    await world.connection.execute("SET session_replication_role = replica")
    await world.connection.execute(
        "UPDATE chain_transactions SET state = 'expired', updated_at = now() - %s * (id + 24) * interval '1 hour'",
        [int(long_ago)],
    )
    await world.connection.execute("SET session_replication_role = origin")


class Forgetful:
    """The desk's node, answering ``{}`` to some questions: an index that lags, or another node at the same address."""

    def __init__(self, desk: Desk) -> None:
        self._node = desk.real_provider._nodes.all[0]
        self._real = self._node.call
        self.no_block_after: int | None = None
        self._node.call = self._call  # type: ignore[method-assign,assignment]

    def recover(self) -> None:
        self._node.call = self._real  # type: ignore[method-assign]

    async def _call(self, method: str, finality: Finality, body: Mapping[str, Any] | None = None) -> Any:
        if method == LOOKUP:
            return {}
        if method == "getblockbynum" and self.no_block_after is not None and body and body["num"] > self.no_block_after:
            return {}
        return await self._real(method, finality, body)  # type: ignore[arg-type]


async def states(world: World) -> tuple[list[str], list[str]]:
    """Of transfers and attempts."""
    return [row["state"] for row in await world.transfers()], [row["state"] for row in await world.attempts()]


async def test_a_node_without_an_index_buries_nothing(world: World, desk: Desk, thirsty: Wallet) -> None:
    """Confirmations were away for longer than the scan reaches; the payment is final, and the node denies it."""
    await desk.settlement.round()
    await desk.run(GAS)
    await world.devnet.mine(300, step_seconds=3)
    Forgetful(desk)
    await desk.new_settlement().round()
    assert await states(world) == (["final"], ["final"])
    await world.assert_database_equals_chain()


async def test_not_paid_twice_under_one_key(world: World, desk: Desk, thirsty: Wallet) -> None:
    """Gas lands while confirmations are away, a consolidation uses it up, a second deposit comes, and the node denies
    both payments. Neither is made again."""
    await world.devnet.set_params(energy_fee=150)
    await desk.settlement.round()
    await desk.run(GAS)
    await world.devnet.solidify()
    await store(world, thirsty, world.native_id, await world.devnet.balance(thirsty.address, solid=True))
    await desk.run(CONSOLIDATION)
    await world.devnet.solidify()
    await world.devnet.send_token(world.token, thirsty.address, 150 * USDT)
    await world.devnet.mine(300, step_seconds=3)
    node = Forgetful(desk)
    await desk.new_settlement().round()
    node.recover()
    await desk.run(GAS)
    await desk.settle()
    keys = [row["idempotency_key"] for row in await world.transfers() if row["kind"] == "gas"]
    assert len(await world.paid_gas()) == len(keys)
    await world.assert_database_equals_chain()


async def test_a_node_that_lags_behind_a_balancer_buries_nothing(world: World, desk: Desk, thirsty: Wallet) -> None:
    """Heights come from a current node, lookups and blocks from one that is stuck: settled once that one is gone."""
    await desk.settlement.round()
    await desk.run(GAS)
    await world.devnet.solidify()
    await world.devnet.advance(200)
    await world.devnet.solidify()
    node = Forgetful(desk)
    node.no_block_after = (await world.attempts())[0]["ref_block"]
    await desk.settlement.round()
    assert await states(world) == (["broadcasting"], ["broadcasting"])
    node.recover()
    await desk.settlement.round()
    assert await states(world) == (["final"], ["final"])


async def test_a_payment_that_no_node_can_prove_dead_raises_an_alarm(world: World, desk: Desk, thirsty: Wallet) -> None:
    """It expired long ago and the only node that answers begins with a later block: it is not made again, and somebody
    hears of it."""
    await desk.settlement.round()
    await desk.run(GAS)
    await world.devnet.drop_pending()
    await world.devnet.mine(30, step_seconds=3)
    node = desk.real_provider._nodes.all[0]
    real, pruned = node.call, (await world.attempts())[0]["ref_block"]

    async def young(method: str, finality: Finality, body: Any = None) -> Any:
        asked = (body or {}).get("num", (body or {}).get("id_or_num"))
        return {} if asked is not None and 0 < int(asked) <= pruned else await real(method, finality, body)

    node.call = young  # type: ignore[method-assign,assignment]
    await desk.settlement.round()
    assert await states(world) == (["broadcasting"], ["broadcasting"])
    assert await desk.settlement.tidy() == [], "nodes may be behind for a while"
    await world.devnet.mine(200, step_seconds=3)
    await desk.settlement.round()
    (alarm,) = await desk.settlement.tidy()
    assert f"transfer {(await world.transfers())[0]['id']} expired at" in alarm
    node.call = real  # type: ignore[method-assign]
    await desk.settlement.round()
    assert await states(world) == (["expired"], ["expired"])
    assert await desk.settlement.tidy() == []


async def test_many_that_expired_share_their_blocks(world: World, desk: Desk) -> None:
    wallets = [await world.wallet(usdt=250 * USDT) for _ in range(12)]
    await world.devnet.solidify()
    for wallet in wallets:
        await world.flag(wallet, gas=True)
    await desk.settlement.round()
    await desk.run(GAS)
    await world.devnet.drop_pending()
    await world.devnet.mine(60, step_seconds=3)
    reads: list[int] = []
    block = desk.real_provider.block

    async def counted(number: int, finality: Finality) -> object:
        reads.append(number)
        return await block(number, finality)

    desk.real_provider.block = counted  # type: ignore[method-assign,assignment]
    await desk.settlement.round()
    assert (await states(world))[1] == ["expired"] * 12
    assert len(reads) < 200


async def test_what_may_still_land_cannot_be_buried_at_psql(world: World, desk: Desk, thirsty: Wallet) -> None:
    await desk.settlement.round()
    await desk.run(GAS)
    with pytest.raises(psycopg.errors.DatabaseError, match="may still land") as refused:
        await world.connection.execute("UPDATE chain_transactions SET state = 'expired'")
    assert refused.value.sqlstate == "FP003"


async def test_a_buried_payment_that_is_on_the_chain_raises_an_alarm(world: World, desk: Desk, thirsty: Wallet) -> None:
    """By hand, past every guard."""
    await desk.settlement.round()
    assert await desk.settlement.tidy() == []
    await desk.run(GAS)
    await world.devnet.solidify()
    await world.connection.execute(
        "SET session_replication_role = replica; "
        "UPDATE chain_transactions SET state = 'expired', updated_at = now(); "
        "SET session_replication_role = origin"
    )
    (alarm,) = await desk.settlement.tidy()
    assert (await world.attempts())[0]["txid"] in alarm
    assert "stored as expired and stands in final block" in alarm


async def test_one_buried_that_cannot_be_looked_up_hides_no_other(world: World, desk: Desk) -> None:
    """A node has lost itself in one of them: the alarm about another is raised all the same, and what lives goes on."""
    await called_dead(world, desk, wallets=3)
    odd = {row["txid"] for row in (await world.attempts())[:2]}
    find = desk.real_provider.find

    async def lost(txid: str, finality: Finality) -> Any:
        if txid in odd:
            raise ChainUnavailable(f"no node can make anything of {txid}")
        return await find(txid, finality)

    desk.real_provider.find = lost  # type: ignore[method-assign]
    (alarm,) = await desk.settlement.tidy()
    assert (await world.attempts())[2]["txid"] in alarm


async def test_final_blocks_recorded_far_beyond_what_the_nodes_have_raise_an_alarm(
    world: World, desk: Desk, thirsty: Wallet
) -> None:
    """Of other times, or of another network. Blocks are read no more until the chain has come so far, so that no
    payment is settled and none is proved dead."""
    await desk.settlement.round()
    await world.connection.execute(
        "UPDATE chain_cursors SET block_number = block_number + 10000, block_id = repeat('ab', 32)"
    )
    await desk.run(GAS)
    await world.devnet.solidify()
    await desk.settlement.round()
    assert await states(world) == (["broadcasting"], ["broadcasting"])
    (alarm,) = await desk.settlement.tidy()
    assert "final blocks were read up to" in alarm
    await world.connection.execute("DELETE FROM chain_cursors")
    await desk.settlement.round()
    await desk.settlement.round()
    assert await desk.settlement.tidy() == []
    assert await states(world) == (["final"], ["final"])
    await world.assert_database_equals_chain()


async def higher(by: int, block: BlockRef) -> BlockRef:
    """A height that is none."""
    number = block.number + by
    return BlockRef(number, f"{number:016x}{'ab' * 24}", block.timestamp)


async def answer(what: Any, _: Any) -> Any:
    """Instead of a node's."""
    return what


@pytest.mark.parametrize("out", [False, True], ids=["nothing is out", "a payment is out"])
async def test_a_height_that_a_chain_cannot_have_is_not_recorded(
    world: World, desk: Desk, thirsty: Wallet, out: bool
) -> None:
    """Once it was, and somebody had to delete the row by hand."""
    await desk.settlement.round()
    if out:
        await desk.run(GAS)
    made_up = await higher(1_000_000, await desk.provider.block_ref(Finality.FINAL))
    desk.provider.after("block_ref", partial(answer, made_up))
    desk.provider.after("block", partial(answer, BlockContent(made_up, "ab" * 32, ())))
    with pytest.raises(psycopg.Error) as refused:
        await desk.settlement.round()
    assert refused_by_guard(refused.value)
    assert refused.value.sqlstate == "FP017"
    if not out:
        await desk.run(GAS)
    await world.devnet.solidify()
    await desk.settlement.round()
    assert await desk.settlement.tidy() == []
    assert await states(world) == (["final"], ["final"])


async def test_what_was_buried_long_ago_is_looked_up_by_turns(world: World, desk: Desk) -> None:
    """A node that was behind for hours shows it in the end."""
    await called_dead(world, desk, wallets=25, long_ago=True)
    seen = [len(await desk.settlement.tidy()) for _ in range(5)]
    assert seen == [10, 10, 5, 0, 10], "all of them, again and again"


@pytest.mark.parametrize("of_us", [False, True])
async def test_a_result_that_cannot_be_read_stops_only_its_own_payment(
    world: World, desk: Desk, thirsty: Wallet, of_us: bool
) -> None:
    """A transaction without ``ret``: an outsider's is passed over, and ours waits by itself."""
    outsider = await world.wallet()
    await desk.settlement.round()
    await desk.run(GAS)
    await world.devnet.faucet(outsider.address, 1)
    await world.devnet.solidify()
    node = desk.real_provider._nodes.all[0]
    real = node.call
    ours = (await world.attempts())[0]["txid"]

    async def odd(method: str, finality: Finality, body: Any = None) -> Any:
        answer = await real(method, finality, body)
        for one in answer.get("transactions", ()) if method == "getblockbynum" else ():
            if (one["txID"] == ours) == of_us:
                one.pop("ret", None)
        return answer

    node.call = odd  # type: ignore[method-assign,assignment]
    if of_us:
        await desk.settlement.round()
        assert (await states(world))[1] == ["included"]
        (alarm,) = await desk.settlement.tidy()
        assert ours in alarm
        node.call = real  # type: ignore[method-assign]
    await desk.settlement.round()
    assert await states(world) == (["final"], ["final"])


async def test_a_node_that_keeps_the_bytes_to_itself_does_not_get_them_for_ever(
    world: World, desk: Desk, thirsty: Wallet
) -> None:
    """The first node says SUCCESS and relays nothing; the second one is asked by the first repeat."""
    second = await world.devnet.start_node("second")
    both = [NodeConfig(world.devnet.url), NodeConfig(second.url)]
    provider = TronProvider("tron", world.genesis, both, [Asset("TRX", 6)], patience=1.0)
    await world.devnet.add_fault(FaultKind.SWALLOWED, "wallet/broadcasthex")
    desk.provider = desk.sender.provider = Interposed(provider)  # type: ignore[assignment]
    settlement = desk.new_settlement()
    await settlement.round()
    await desk.run(GAS)
    assert (await world.devnet.status()).pending == ()
    await world.connection.execute("UPDATE chain_transactions SET last_broadcast_at = now() - interval '1 hour'")
    await settlement.round()
    await world.devnet.solidify()
    await settlement.round()
    assert await states(world) == (["final"], ["final"])
    await provider.close()


async def store(world: World, wallet: Wallet, asset_id: int, raw: int) -> None:
    """As the sync writes a balance."""
    await world.connection.execute(
        "UPDATE wallet_balances SET on_chain_balance_raw = %s, recheck = false "
        "WHERE wallet_id = %s AND asset_on_chain_id = %s",
        [str(raw), wallet.id, asset_id],
    )
