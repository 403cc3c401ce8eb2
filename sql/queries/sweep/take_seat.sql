-- Becomes the one sweep that acts, for as long as this session lives; false while another one is.
SELECT pg_try_advisory_lock(hashtextextended('flagpost sweep ' || current_database(), 0))
