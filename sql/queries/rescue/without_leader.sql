-- What nobody has led for long.
SELECT name, since, last_holder FROM leaderships_without_leader(make_interval(secs => %(longer_than_seconds)s))
