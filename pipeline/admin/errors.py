"""Why an operator's action was not done. Each message is for people; the class tells programs what kind it is."""


class ActionError(Exception):
    """Base: nothing was changed. ``message`` says what is wrong, ``hint`` what to do next ("" where nothing helps)."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NotFound(ActionError):
    """No such chain, asset, wallet, job, sender or setting."""


class Conflict(ActionError):
    """It is there, and in a state that does not allow the action."""


class NeedsAnotherWord(Conflict):
    """It can be done, and is dangerous now: it has to be said again, knowing that."""


class InvalidValue(ActionError):
    """A value cannot be taken: an address, an amount, a threshold that contradicts another."""


class NotPermitted(ActionError):
    """The login of this session has no right to do it."""


class DatabaseUnavailable(ActionError):
    """The database does not answer, takes no writes, or has another version of the schema."""


class NodeUnavailable(ActionError):
    """No node of the chain answers, or it is of another network, or it lacks what is needed."""
