-- Leadership for as long as this session lives: true for one session at a time and name. Asking again in the
-- session that leads would count twice, so it is asked once; afterwards a lost session is a lost leadership.
SELECT pg_try_advisory_lock(hashtextextended('flagpost: ' || %(name)s, 0));
