-- How far this chain's final blocks have been read for one purpose.
SELECT block_number, block_id, block_time FROM chain_cursors WHERE chain_id = %(chain_id)s AND purpose = %(purpose)s;
