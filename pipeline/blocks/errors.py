"""What blocks cannot say at once."""

from pipeline.chains.errors import InconsistentNode


class BlockConflict(InconsistentNode):
    """Two answers about final blocks exclude each other: a block is no child of the one before it, or another block
    stands at a height than the one that was named there. Nothing may follow from either."""
