-- Ends the reminders of an open alert.
SELECT rule, subject FROM acknowledge_alert(%(alert)s, %(admin)s)
