"""Whether all nodes count a nonce as used by final blocks (EVM)."""

from pipeline.chains.errors import ChainUnavailable
from pipeline.chains.provider import NumberedProvider


async def node_that_denies(provider: NumberedProvider, sender: str, nonce: int) -> str | None:
    """A node that does not count a nonce as used by final blocks, and its count, for people; None: all that answer do.
    An operator's release rests on it that the nonce is used at all. Raises ChainUnavailable when none answers."""
    counts = await provider.finalized_everywhere(sender)
    if not counts:
        raise ChainUnavailable(f"no node says how many final transactions {sender} has made")
    return next((f"node {name} counts {count}" for name, count in counts.items() if count <= nonce), None)
