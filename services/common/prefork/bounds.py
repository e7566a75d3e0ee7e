"""Numbers that a service and whoever starts it agree on. Without imports: the launcher stays small."""

WORKERS_MAX = 64
# Connections of Postgres: of a service, and the least of one of its workers. With fewer, calls wait for each other.
CONNECTIONS_MAX = 12
CONNECTIONS_MIN = 4
