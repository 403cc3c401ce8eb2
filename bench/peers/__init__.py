"""The peers: an adapter of our own for each, run in an environment that holds nothing but the peer."""
