"""EVM chains (Ethereum, BSC, …) on web3."""
