"""What can go wrong between us and Postgres. A glossary; each message says what to do next."""


class DatabaseError(Exception):
    """Base of all errors of the database room."""


class EmbeddedServerError(DatabaseError):
    """The embedded server could not be prepared, started or stopped."""


class AlreadyRunning(EmbeddedServerError):
    """Another process serves this data directory; its DSN can be used as it is."""


class UnknownStatement(DatabaseError):
    """No file of that name under sql/queries."""


class MigrationError(DatabaseError):
    """A migration could not be applied; the database is as it was before."""


class DatabaseIsNewer(MigrationError):
    """The database was migrated by a later version of Flagpost than this one."""


class MigrationEdited(MigrationError):
    """A migration that was applied before has another text now, or is gone."""


class WrongRole(DatabaseError):
    """A connection runs under another role than the process may use."""
