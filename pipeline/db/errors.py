"""What can go wrong between us and Postgres. A glossary; each message says what to do next."""

import psycopg
from psycopg import errors
from psycopg_pool import PoolTimeout


class DatabaseError(Exception):
    """Base of all errors of the database room."""


class NoDatabase(DatabaseError):
    """A connection is wanted, and nobody named a database."""


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


class WrongSession(DatabaseError, psycopg.OperationalError):
    """A session has settings under which our statements mean something else, and they cannot be set from here. Each is
    named with the statement that sets it right; whoever waits for the database waits for that, too."""


class WrongRole(WrongSession):
    """A connection runs under another role than the process may use."""


class DatabaseReadOnly(psycopg.OperationalError):
    """The server takes no writes: a standby that is not promoted, or ``default_transaction_read_only``. The session was
    closed, because it would stay read-only after that setting is taken back."""

    sqlstate = errors.ReadOnlySqlTransaction.sqlstate


class ClockOutOfRange(psycopg.OperationalError):
    """A time of the server's clock was refused by a constraint of ours: the clock is wrong by decades."""

    sqlstate = errors.CheckViolation.sqlstate


DATABASE_GONE = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    PoolTimeout,
    ConnectionError,
    TimeoutError,
    errors.ReadOnlySqlTransaction,
    errors.IdleInTransactionSessionTimeout,
    errors.TransactionTimeout,
)
"""What a statement raises that may go well the next time. By SQLSTATE:

=====================  ==========================================================================================
08, 57P01 to 57P05     the connection is lost, the server restarts, recovers, or ends sessions
25006                  read-only: a standby before its promotion (LISTEN says so, too), default_transaction_read_only
25P03, 25P04           the session took longer than a timeout of the server's and was ended
40001, 40P01           a serialization failure, a deadlock
53, 58                 no memory, disk or connection is left; the disk fails
54                     a limit of the server, such as max_stack_depth
55, 57014              a lock that somebody holds; the statement was cancelled or took too long
FP                     a guard of ours refused it (``refused_by_guard`` tells it from an outage)
=====================  ==========================================================================================

Everything else is a fault of ours, or needs a person: a column that is not there, a right that is missing, a value that
a constraint refuses, ``XX000``. Those end the process with an error that names it.
"""


def refused_by_guard(error: Exception) -> bool:
    """Whether it was one of our triggers or functions that said no (they have SQLSTATE class FP), and no outage."""
    return isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith("FP")
