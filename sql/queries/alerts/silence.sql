-- Holds back deliveries of alerts that fit, for so long; the silence's id, and when it ends.
SELECT silence_alerts(%(rule)s, %(subject)s, now() + %(length)s, %(reason)s, %(admin)s) AS id, now() + %(length)s AS until
