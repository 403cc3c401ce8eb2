-- Unlocks a page whose reading failed as a whole. It is due again after %(retry_seconds)s, and %(error)s is shown with its
-- balances.
SELECT unlock_sync_pages(%(lock)s, %(asset_id)s, %(after_id)s, %(last_id)s, %(retry_seconds)s, %(error)s)
