-- How far the final blocks of one chain are read, for the comparison with what its nodes say.
SELECT block_number, block_time, now() - updated_at AS standing
FROM chain_cursors WHERE chain_id = %(chain_id)s AND purpose = 'confirmations'
