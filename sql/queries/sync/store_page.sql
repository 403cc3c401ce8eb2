-- Writes what changed of a page and unlocks it (sql/functions/store_sync_page.sql).
SELECT outcome, stored_at, written_ids::text[], written_wallets
FROM store_sync_page(
    %(lock)s, %(asset_id)s, %(after_id)s, %(last_id)s, %(up_to)s, %(balances)s, %(first_block)s::bigint,
    %(last_block)s::bigint, %(record)s,
    %(ids)s::uuid[], %(known)s::text[], %(raws)s::text[], %(blocks)s::bigint[], %(errors)s::text[])
