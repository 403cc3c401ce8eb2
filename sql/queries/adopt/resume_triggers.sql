-- From here on the triggers check rows again.
ALTER TABLE {table} ENABLE TRIGGER {trigger};
