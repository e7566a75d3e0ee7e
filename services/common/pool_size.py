"""How many connections of Postgres a process of a service keeps. Alone here, so that who counts them loads no SQL."""

CONNECTIONS_MAX = 12
# Fewer have calls wait for each other.
CONNECTIONS_MIN = 4
