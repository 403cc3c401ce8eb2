"""From the chain back to the database: what it shows of our payments becomes their state.

settlement       a round of one chain: everything below, in order
final_blocks     settles what final blocks hold, and moves the cursor; unresolved: what they list and nobody can read
inclusion        what the newest blocks hold, which may be forked away
lookup           payments by their txids, where blocks were not followed
strategy         what differs between the disciplines: expiring (by time); numbered (superseded, nonce_queue)
rebroadcast      sends the identical bytes again
recheck          expired attempts that a node shows all the same
progress         whether blocks go on, become final and are settled
store            one method, one commit
"""
