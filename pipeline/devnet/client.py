"""A typed client for the control API: what tests, the demo and the audit ask of a devnet."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiohttp

from pipeline.devnet.faults import FaultKind


class DevnetError(Exception):
    """The devnet refused a command; ``code`` is java-tron's when a transaction was rejected."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class BlockInfo:
    number: int
    id: str
    timestamp: int
    """Milliseconds."""


@dataclass(frozen=True, slots=True)
class NodeInfo:
    name: str
    url: str
    lag: int
    frozen: bool
    head: int
    solid: int


@dataclass(frozen=True, slots=True)
class DevnetTransfer:
    """One successful transfer on the canonical chain."""

    txid: str
    block: int
    timestamp: int
    contract: str | None
    """None: TRX."""
    sender: str
    receiver: str
    amount: int
    """Raw units; sun for TRX."""


@dataclass(frozen=True, slots=True)
class DevnetStatus:
    network: str
    genesis_id: str
    head: BlockInfo
    solid: BlockInfo
    solid_lag: int
    now_ms: int
    """Chain time."""
    paused: bool
    pending: tuple[str, ...]
    params: dict[str, int]
    faucet: str
    tokens: tuple[tuple[str, str], ...]
    """(contract, name)"""
    nodes: tuple[NodeInfo, ...]


class DevnetClient:
    """``url`` is the main node's. Use as ``async with``. Every method raises DevnetError."""

    def __init__(self, url: str, timeout: float = 60.0) -> None:
        self.url = url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None
        self._timeout = aiohttp.ClientTimeout(total=timeout)

    async def __aenter__(self) -> "DevnetClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session:
            await self._session.close()
            self._session = None

    async def status(self) -> DevnetStatus:
        answer = await self._ask("status")
        return DevnetStatus(
            network=answer["network"],
            genesis_id=answer["genesis_id"],
            head=BlockInfo(**answer["head"]),
            solid=BlockInfo(**answer["solid"]),
            solid_lag=answer["solid_lag"],
            now_ms=answer["now_ms"],
            paused=answer["paused"],
            pending=tuple(answer["pending"]),
            params=answer["params"],
            faucet=answer["faucet"],
            tokens=tuple((token["contract"], token["name"]) for token in answer["tokens"]),
            nodes=tuple(NodeInfo(**node) for node in answer["nodes"]),
        )

    # -- money: ordinary transactions of the faucet; they need a block to count

    async def faucet(self, address: str, sun: int) -> str:
        """Send TRX to ``address``. Returns the txid."""
        return str((await self._ask("faucet", address=address, sun=str(sun)))["txid"])

    async def deploy_token(
        self, symbol: str = "USDT", decimals: int = 6, supply: int = 10**15, name: str = "Tether USD"
    ) -> tuple[str, str]:
        """Deploy the TRC20. Returns (contract address, txid); the faucet holds ``supply`` and may mint."""
        answer = await self._ask("deploy", name=name, symbol=symbol, decimals=decimals, supply=str(supply))
        return str(answer["contract"]), str(answer["txid"])

    async def deploy(self, bytecode: bytes, name: str = "", abi: Sequence[Any] = ()) -> tuple[str, str]:
        """Deploy creation code, its arguments behind it. Returns (contract address, txid)."""
        answer = await self._ask("deploy", bytecode=bytecode.hex(), name=name, abi=list(abi))
        return str(answer["contract"]), str(answer["txid"])

    async def call(self, contract: str, function: str, *args: object) -> str:
        """Call a contract as the faucet, e.g. ``call(usdt, "addBlackList(address)", wallet)``. Returns the txid."""
        printed = [str(arg) if type(arg) is int else arg for arg in args]
        return str((await self._ask("call", contract=contract, function=function, args=printed))["txid"])

    async def mint(self, contract: str, address: str, raw: int) -> str:
        return await self.call(contract, "mint(address,uint256)", address, raw)

    async def send_token(self, contract: str, address: str, raw: int) -> str:
        """A deposit: the faucet transfers tokens to ``address``. Returns the txid."""
        return await self.call(contract, "transfer(address,uint256)", address, raw)

    async def balance(self, address: str, contract: str | None = None, *, solid: bool = False) -> int:
        """Raw units; sun without ``contract``."""
        return int((await self._ask("balance", address=address, contract=contract, solid=solid))["raw"])

    # -- blocks and time

    async def mine(self, blocks: int = 1, *, empty: bool = False, step_seconds: float | None = None) -> BlockInfo:
        """Make blocks at once. Returns the last. ``empty`` leaves the pool alone; ``step_seconds`` is their spacing
        in chain time (default: the clock's own time)."""
        step = None if step_seconds is None else int(step_seconds * 1000)
        answer = await self._ask("mine", blocks=blocks, empty=empty, step_ms=step)
        return BlockInfo(**answer["blocks"][-1])

    async def solidify(self) -> BlockInfo:
        """Make enough blocks for what is pending now to be solid."""
        return await self.mine((await self.status()).solid_lag + 1)

    async def pause(self) -> None:
        """Stop the clock: no blocks until ``resume`` (or ``mine``)."""
        await self._ask("clock", paused=True)

    async def resume(self) -> None:
        await self._ask("clock", paused=False)

    async def advance(self, seconds: float) -> None:
        """Move chain time on; the next block has the new time."""
        await self._ask("clock", advance=seconds)

    async def fork(self, depth: int, *, drop: bool = False) -> list[str]:
        """Replace the last ``depth`` blocks by empty ones. Returns the txids that were in them: they are pending
        again, or forgotten with ``drop``."""
        return list((await self._ask("fork", depth=depth, drop=drop))["transactions"])

    async def set_params(self, **params: int) -> dict[str, int]:
        """Change chain parameters from the next block on, e.g. ``energy_fee=420`` (see ``params.Params``)."""
        return dict(await self._ask("params", **params))

    async def wait_for_block(self, number: int, *, solid: bool = False, timeout: float = 30) -> BlockInfo:  # noqa: ASYNC109
        """Wait at the server, without polling."""
        return BlockInfo(**await self._ask("wait", block=number, solid=solid, timeout=timeout))

    async def wait_for_transaction(self, txid: str, *, solid: bool = False, timeout: float = 30) -> BlockInfo:  # noqa: ASYNC109
        return BlockInfo(**await self._ask("wait", txid=txid, solid=solid, timeout=timeout))

    # -- pool

    async def drop_pending(self, txids: Iterable[str] | None = None) -> int:
        """Lose pending transactions (all by default). Returns how many."""
        wanted = "all" if txids is None else list(txids)
        return int((await self._ask("pool", drop=wanted))["dropped"])

    async def hold(self, txids: Iterable[str] | None = None) -> None:
        """Keep pending transactions out of blocks (all that are pending now by default)."""
        await self._ask("pool", hold="all" if txids is None else list(txids))

    async def release(self, txids: Iterable[str] | None = None) -> None:
        await self._ask("pool", release="all" if txids is None else list(txids))

    # -- nodes and faults

    async def start_node(self, name: str, *, lag: int = 0) -> NodeInfo:
        """A further node on a free port, ``lag`` blocks behind."""
        return NodeInfo(**await self._ask("start-node", name=name, lag=lag))

    async def stop_node(self, name: str) -> None:
        await self._ask("stop-node", name=name)

    async def freeze(self, node: str = "main") -> NodeInfo:
        """The node goes stale: it answers from what it has now, and pools for itself alone."""
        return NodeInfo(**await self._ask("set-node", name=node, frozen=True))

    async def thaw(self, node: str = "main") -> NodeInfo:
        return NodeInfo(**await self._ask("set-node", name=node, frozen=False))

    async def set_lag(self, lag: int, node: str = "main") -> NodeInfo:
        return NodeInfo(**await self._ask("set-node", name=node, lag=lag))

    async def forget_txids(self, node: str = "main") -> None:
        """The node no longer remembers what was sent to it (java-tron forgets after an hour)."""
        await self._ask("set-node", name=node, forget=True)

    async def add_fault(
        self,
        kind: FaultKind,
        path: str = "*",
        *,
        node: str = "main",
        count: int | None = None,
        seconds: float = 0.0,
        status: int = 200,
        body: Any = None,
        code: str = "OTHER_ERROR",
        message: str = "",
        process: bool = False,
    ) -> int:
        """Spoil calls whose path (``wallet/broadcasthex``) matches the pattern, ``count`` times or until cleared.

        Returns the rule's id. What each field does stands with ``FaultKind``."""
        rule = {
            "kind": kind,
            "path": path,
            "node": node,
            "count": count,
            "seconds": seconds,
            "status": status,
            "body": body,
            "code": code,
            "message": message,
            "process": process,
        }
        return int((await self._ask("add-fault", **rule))["id"])

    async def clear_faults(self, node: str | None = None, *, rule: int | None = None) -> int:
        """All of them, which also lifts bans and suspensions, or one ``rule``. Returns how many rules went."""
        return int((await self._ask("clear-faults", node=node, id=rule))["cleared"])

    async def faults(self) -> dict[str, list[dict[str, Any]]]:
        """The rules left, by node, each with its ``hits``."""
        return dict(await self._ask("list-faults"))

    # -- audit

    async def audit(self, *, solid: bool = False, since: int = 0) -> list[DevnetTransfer]:
        """Every successful TRX and TRC20 transfer on the canonical chain, in order."""
        answer = await self._ask("audit", solid=solid, since=since)
        return [
            DevnetTransfer(
                txid=item["txid"],
                block=item["block"],
                timestamp=item["timestamp"],
                contract=item["contract"],
                sender=item["from"],
                receiver=item["to"],
                amount=int(item["amount"]),
            )
            for item in answer["payments"]
        ]

    async def _ask(self, command: str, **body: object) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        async with self._session.post(f"{self.url}/devnet/{command}", json=body) as reply:
            answer = await reply.json()
            if reply.status != 200:
                raise DevnetError(answer.get("error", f"HTTP {reply.status}"), answer.get("code"))
            return answer
