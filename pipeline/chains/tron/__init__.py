"""TRON: encoding, nodes, and the provider over them."""
