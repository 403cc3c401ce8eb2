-- Deletes alerts that were resolved 90 days ago; how many.
SELECT forget_old_alerts()
