-- Has a sender reconciled of whom a node counted more than is recorded by now: a payment is recorded before it is sent.
SELECT request_reconciliation(%(chain_id)s, %(sender)s, %(counted)s) AS noted
 WHERE %(counted)s > next_nonce(%(chain_id)s, %(sender)s);
