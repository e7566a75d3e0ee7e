"""How many workers a service may have. Without imports: the launcher stays small."""

WORKERS_MAX = 64
