-- Takes deliveries to these channels for this process to send; nobody else has them for %(lease_seconds)s.
SELECT * FROM claim_alert_deliveries(%(channels)s, %(most)s, make_interval(secs => %(lease_seconds)s))
