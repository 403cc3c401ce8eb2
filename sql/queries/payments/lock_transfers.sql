-- Payments that are about to change, after their jobs and before their attempts. A replacement that is just being written
-- down is waited for, so that the next statement sees it.
SELECT id FROM transfers WHERE id = ANY (%(transfer_ids)s::bigint[]) ORDER BY id FOR UPDATE;
