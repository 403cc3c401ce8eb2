-- So many transactions of a sender are final, counted when this block had been read. The proof of what became of its payments.
UPDATE senders SET finalized = greatest(finalized, %(finalized)s), final_block = greatest(final_block, %(final_block)s)
 WHERE chain_id = %(chain_id)s AND sender = %(sender)s
RETURNING finalized;
