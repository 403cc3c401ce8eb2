"""Final blocks: followed in order, each the parent of the next."""
