"""Balances of wallets: which are due, reading them from the chain, storing what was read.

due ──claim (lock)──▶ processing ──one call to the chain──▶ store (unlock)
                          └── lock expires: due again, and a late store changes nothing
"""
