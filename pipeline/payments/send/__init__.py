"""From an intent to the node."""
