"""What a resolver raises. Each names what was looked for."""


class ResolverError(Exception):
    """The resolver has no answer, or none that may be given."""


class InvalidReference(ResolverError, ValueError):
    """What was asked for names no alias, stage or version of a model."""


class NotFound(ResolverError, LookupError):
    """The registry says that there is no such thing."""


class ModelNotFound(NotFound):
    """There is no model of that name."""


class AliasNotFound(NotFound):
    """The model has no such alias."""


class StageNotFound(NotFound):
    """No version of the model is in that stage."""


class VersionNotFound(NotFound):
    """The model has no such version."""


class AccessDenied(ResolverError):
    """The registry refuses to tell this caller of the model."""


class TooManyModels(ResolverError):
    """The resolver watches as many models as it may."""


class Unavailable(ResolverError):
    """The registry does not answer, and nothing is known from before."""


class StaleError(ResolverError):
    """What is known has not been confirmed for longer than `max_staleness_s`."""


class Closed(ResolverError):
    """The resolver has been closed."""
