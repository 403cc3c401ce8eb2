"""Runs anvil and keeps what it knows for the next start, whole and bounded. Anvil's own `--state` does neither: it
empties the file before it writes it anew, so that a SIGKILL can leave nothing, and it keeps every block for ever.

    start from the file ──▶ every other second: ask for the state, drop old blocks, replace the file
                       ◀── every MOST_BLOCKS blocks: anvil is started anew from it, or its dumps would grow for ever

    python -m pipeline.local.keeper --state FILE --port PORT --slots N -- anvil …
"""

import argparse
import asyncio
import contextlib
import gzip
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from pipeline.scaling.parent import prepare_child

STATE_SECONDS = 2.0
"""Between two dumps of the state; shorter than it takes a block to become final, so that what was final survives a
SIGKILL."""
KEPT_BLOCKS = 2_000
"""Half an hour of them, and about 3.5 MB. Payments that are out are followed through far fewer."""
MOST_BLOCKS = 10_000
"""That anvil holds before it is started anew; by then a dump takes a noticeable part of a second."""
READY_SECONDS = 30.0
NO_ANSWER = (aiohttp.ClientError, TimeoutError)


class AnvilEnded(Exception):
    """The node ended by itself."""


def pruned(state: dict[str, Any], kept: int) -> dict[str, Any]:
    """A dumped state with its newest blocks only, and their transactions. What accounts hold is not in blocks."""
    blocks = sorted(state["blocks"], key=lambda block: int(block["header"]["number"], 16))[-kept:]
    first = int(blocks[0]["header"]["number"], 16) if blocks else 0
    transactions = [one for one in state["transactions"] if one["block_number"] >= first]
    return {**state, "blocks": blocks, "transactions": transactions}


def replace(path: Path, text: str) -> None:
    """Write a file so that there is the old one or the new one at every moment."""
    fresh = path.with_suffix(".new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


class Keeper:
    """One anvil, and the file with its state."""

    def __init__(
        self,
        command: Sequence[str],
        url: str,
        state: Path,
        slots: int,
        *,
        kept_blocks: int = KEPT_BLOCKS,
        most_blocks: int = MOST_BLOCKS,
        state_seconds: float = STATE_SECONDS,
    ) -> None:
        """``command`` without the state; a block is final ``2 × slots`` blocks later."""
        self.starts = 0
        self._command = command
        self._url = url
        self._state = state
        self._slots = slots
        self._kept_blocks = kept_blocks
        self._most_blocks = most_blocks
        self._state_seconds = state_seconds
        self._stopping = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None

    def stop(self) -> None:
        """Keep the state once more and end."""
        self._stopping.set()

    async def run(self) -> None:
        """Until told to stop. Raises AnvilEnded."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=READY_SECONDS)) as session:
            try:
                while not self._stopping.is_set():
                    await self._start(session)
                    held = 0
                    while held < self._most_blocks and not self._stopping.is_set():
                        await self._pause()
                        held = await self._keep(session)
                    await self._end()
            finally:
                await self._end()

    async def _start(self, session: aiohttp.ClientSession) -> None:
        known = ["--load-state", str(self._state)] if self._state.exists() else []
        # In a session of its own: what ends our group would end it before it was asked for its state.
        self._process = await asyncio.create_subprocess_exec(
            *self._command, *known, preexec_fn=prepare_child, start_new_session=True
        )
        self.starts += 1
        async with asyncio.timeout(READY_SECONDS):
            while True:
                try:
                    await self._call(session, "eth_chainId")
                    break
                except NO_ANSWER:
                    self._check_alive()
                    await asyncio.sleep(0.05)
        if known:
            # It has the blocks, but the state of none before the newest: questions about final ones would fail.
            await self._call(session, "anvil_mine", hex(2 * self._slots + 1))

    async def _keep(self, session: aiohttp.ClientSession) -> int:
        """Replace the file; how many blocks anvil holds."""
        self._check_alive()
        dump = await self._call(session, "anvil_dumpState")
        return await asyncio.to_thread(self._write, dump)

    def _write(self, dump: str) -> int:
        state = json.loads(gzip.decompress(bytes.fromhex(dump.removeprefix("0x"))))
        replace(self._state, json.dumps(pruned(state, self._kept_blocks), separators=(",", ":")))
        return len(state["blocks"])

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._state_seconds):
                await self._stopping.wait()

    async def _end(self) -> None:
        """At once: what matters is in the file."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def _check_alive(self) -> None:
        if self._process is None or self._process.returncode is not None:
            raise AnvilEnded(f"anvil ended by itself ({self._process and self._process.returncode})")

    async def _call(self, session: aiohttp.ClientSession, method: str, *parameters: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        async with session.post(self._url, json=body) as reply:
            answer = await reply.json()
        if "error" in answer:
            raise AnvilEnded(f"anvil refused {method}: {answer['error']}")
        return answer["result"]


async def _run(keeper: Keeper) -> None:
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, keeper.stop)
    await keeper.run()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    options.state.parent.mkdir(parents=True, exist_ok=True)
    asyncio.run(_run(Keeper(options.command, f"http://127.0.0.1:{options.port}", options.state, options.slots)))


if __name__ == "__main__":
    main()
