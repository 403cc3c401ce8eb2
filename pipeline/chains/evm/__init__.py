"""EVM chains (Ethereum, BSC, …): encoding, nodes, and the provider over them."""
