"""A webhook, and the rules on it that need no I/O (as MLflow 3.18, validation.py and sqlalchemy_store.py)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from services.common.errors import InvalidArgument, NotFound
from services.common.keys import check_length
from services.registry.webhooks.networks import Networks
from services.registry.webhooks.outcomes import SENTENCES, Failure, Outcome
from services.registry.webhooks.vocabulary import DATABRICKS_EVENTS, MLFLOW_ACTIONS, MODEL_CREATED, Dialect

PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1000
WEBHOOKS_MAX = 1000
DESCRIPTION_LENGTH_MAX = 1000
SECRET_LENGTH_MAX = 1000
AUTHORIZATION_LENGTH_MAX = 4096
EVENTS_MAX = 100

_NAME = re.compile(r"(?=.{1,63}$)[a-z0-9]([a-z0-9._-]*[a-z0-9])?", re.IGNORECASE)


class Status(StrEnum):
    """Whether a webhook is told of what happens; in TEST_MODE, only by a test."""

    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"
    TEST_MODE = "TEST_MODE"


@dataclass(frozen=True, kw_only=True, slots=True)
class Resealed:
    """How many webhooks' secrets were sealed under a newer key, and how many no key opens."""

    resealed_count: int
    unreadable_count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class MlflowEvent:
    """An event as MLflow names it, by the names of the proto's enums."""

    entity: str
    action: str


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpUrlSpec:
    """Where a webhook of Databricks' is sent, as far as it is shown."""

    url: str
    enable_ssl_verification: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """Times are milliseconds since the Unix epoch. Without a `registered_model_id` it is about all models. Of
    `subscriptions`, each is an event's name in the words of its dialect.
    """

    webhook_id: str
    dialect: Dialect
    registered_model_id: int | None
    model_name: str | None
    name: str
    description: str | None
    url: str
    subscriptions: Sequence[str]
    sealed_secret: str = field(repr=False)
    sealed_authorization: str = field(repr=False)
    enable_ssl_verification: bool
    status: Status
    creation_timestamp: int
    last_updated_timestamp: int

    @property
    def id(self) -> str:
        return self.webhook_id

    @property
    def events(self) -> Sequence[MlflowEvent | str]:
        if self.dialect is Dialect.DATABRICKS:
            return self.subscriptions
        pairs = [name.upper().partition(".") for name in self.subscriptions]
        return [MlflowEvent(entity=entity, action=action) for entity, _, action in pairs]

    @property
    def http_url_spec(self) -> HttpUrlSpec:
        return HttpUrlSpec(url=self.url, enable_ssl_verification=self.enable_ssl_verification)


@dataclass(frozen=True, kw_only=True, slots=True)
class TestResult:
    """What a test came to, as MLflow tells it."""

    success: bool
    response_status: int | None
    response_body: str | None
    error_message: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a webhook shall have; None is what stays as it is. An empty secret or authorization is none."""

    name: str | None = None
    description: str | None = None
    url: str | None = None
    subscriptions: Sequence[str] | None = None
    secret: str | None = field(default=None, repr=False)
    authorization: str | None = field(default=None, repr=False)
    enable_ssl_verification: bool | None = None
    status: Status | None = None

    def check(self, dialect: Dialect, networks: Networks) -> None:
        """Raises InvalidArgument for what no webhook may have."""
        if self.name is not None and dialect is Dialect.MLFLOW:
            check_name(self.name)
        if self.url is not None:
            networks.check_url(self.url)
        if self.subscriptions is not None:
            check_subscriptions(self.subscriptions, dialect)
        check_length("description", DESCRIPTION_LENGTH_MAX, self.description or "")
        check_length("secret", SECRET_LENGTH_MAX, self.secret or "")
        check_length("authorization", AUTHORIZATION_LENGTH_MAX, self.authorization or "")
        if self.authorization and not (self.authorization.isascii() and self.authorization.isprintable()):
            raise InvalidArgument("'authorization' must be printable ASCII, as it is the value of an HTTP header.")


def check_name(name: str) -> None:
    """Raises InvalidArgument for what cannot name a webhook."""
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"Webhook name {name[:300]!r} is invalid. It must start and end with a letter or digit, be less than 63 "
            "characters long, and contain only letters, digits, dots (.), underscores (_), and hyphens (-)."
        )


def check_subscriptions(names: Sequence[str], dialect: Dialect) -> None:
    """Raises InvalidArgument for no, too many or unknown events."""
    if not names:
        raise InvalidArgument("Webhook events must be a non-empty list of WebhookEvent objects: [].")
    if len(names) > EVENTS_MAX:
        raise InvalidArgument(f"'events' has {len(names)} entries, more than {EVENTS_MAX}.")
    for name in names:
        check_event(name, dialect)


def check_event(name: str, dialect: Dialect) -> None:
    """Raises InvalidArgument for what is no event of a dialect."""
    if dialect is Dialect.DATABRICKS:
        if name not in DATABRICKS_EVENTS:
            raise InvalidArgument(f"Unknown event {name!r}. Events are: {', '.join(DATABRICKS_EVENTS)}.")
        return
    entity, _, action = name.partition(".")
    if entity not in MLFLOW_ACTIONS:
        raise InvalidArgument(f"{entity!r} is not a valid WebhookEntity")
    actions = MLFLOW_ACTIONS[entity]
    if action not in actions:
        raise InvalidArgument(f"Invalid action '{action}' for entity '{entity}'. Valid actions are: {sorted(actions)}")


def check_scope(names: Sequence[str], *, of_one_model: bool) -> None:
    """Raises InvalidArgument for an event that a webhook of one model cannot have."""
    if of_one_model and MODEL_CREATED in names:
        raise InvalidArgument(f"{MODEL_CREATED} is for webhooks of all models: leave out 'model_name'.")


def check_page_size(max_results: int) -> int:
    """Return how many webhooks are meant. Raises InvalidArgument."""
    wanted = max_results or PAGE_SIZE_DEFAULT
    if not 1 <= wanted <= PAGE_SIZE_MAX:
        raise InvalidArgument("max_results must be between 1 and 1000.")
    return wanted


def not_found(webhook_id: str) -> NotFound:
    """Return the error for a webhook that there is not."""
    return NotFound(f"Webhook with ID {webhook_id[:300]} not found.")


def result_of(outcome: Outcome) -> TestResult:
    """Return what came of a test as MLflow tells it."""
    status = outcome.response_status
    return TestResult(
        success=status is not None and status < 400,
        response_status=status,
        response_body=outcome.text or None,
        error_message=None if status is not None else f"Failed to test webhook: {sentence(outcome.failure)}",
    )


def sentence(failure: Failure | None) -> str:
    """Return why there was no answer."""
    return SENTENCES.get(failure, "No answer came.") if failure else "No answer came."
