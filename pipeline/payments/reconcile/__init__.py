"""Transactions of our senders that are on the chain and missing from the database (EVM).

reconciliation   a round: which senders, and how far each has come
nonce_search     final blocks read backward for what used their nonces (nonce_uses, nonce_counts)
recording        the statements that record what was found; store: one method, one commit
"""
