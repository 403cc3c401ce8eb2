-- From now on this session polls and needs no NOTIFY; whether it is the one that writers see to be polling.
SELECT start_polling()
