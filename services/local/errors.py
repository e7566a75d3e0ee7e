"""The one failure of local start-up that a person at the terminal is told about."""


class LocalError(Exception):
    """The platform cannot start or go on here. The text says why and what to do, and is printed without a trace."""
