-- What nobody has led for over a minute, while any process lives.
SELECT name, since, last_holder, how_to_start(split_part(name, ' ', 1)) AS start
FROM leaderships_without_leader('60 seconds')
WHERE EXISTS (SELECT FROM worker_registry w
              WHERE w.status IN ('running', 'paused') AND w.last_heartbeat > clock_timestamp() - interval '60 seconds');
