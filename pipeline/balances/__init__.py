"""Balances of wallets: which are due, reading them from the chain, storing what was read.

due ──claim (lock)──▶ processing ──one call to the chain──▶ store (unlock)
                          └── lock expires: due again, and a late store changes nothing

What is due by itself (new, moved, not readable) is claimed and stored row by row. All else is read by pages of an
asset: the page is locked, its rows are not, and only those that changed are written.
"""
