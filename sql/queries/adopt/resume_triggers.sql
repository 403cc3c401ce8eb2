-- From here on rows are held to the rules again.
ALTER TABLE {table} ENABLE TRIGGER {trigger};
