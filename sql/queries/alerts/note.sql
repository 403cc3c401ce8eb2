-- Notes what became of an attempt (NULL: it arrived); the state of the delivery, NULL if another process has it by now.
SELECT note_alert_delivery(%(delivery_id)s, %(attempt)s, %(error)s)
