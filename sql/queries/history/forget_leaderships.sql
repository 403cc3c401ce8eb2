-- Forgets leases of leadership that nobody has renewed for 30 days; how many.
SELECT forget_old_leaderships()
