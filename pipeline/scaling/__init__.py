"""How many workers there are, and the agent of a host that starts them."""
