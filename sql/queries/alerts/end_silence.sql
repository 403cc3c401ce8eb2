-- Ends a silence; what it held back and is still open is sent.
SELECT rule, subject FROM end_silence(%(silence)s, %(admin)s)
