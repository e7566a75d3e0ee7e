"""Whether tests of promises run short, as in `make test`, or long, as in `make faults` (MODELSTEAD_FAULTS=long)."""

import os

IS_LONG = os.environ.get("MODELSTEAD_FAULTS") == "long"
# How many times as long as is promised it may take where other tests run beside it.
SLOWNESS = 1 if IS_LONG else 10
# How many schedules a seeded simulation tries in the long form.
SEEDS = 10_000
