"""Whether tests of promises run short, as in `make test`, or long, as in `make faults` (MODELSTEAD_FAULTS=long)."""

import os

IS_LONG = os.environ.get("MODELSTEAD_FAULTS") == "long"
# How many schedules a seeded simulation tries in the long form.
SEEDS = 10_000
# In seconds, of a test that repeats what it does for long.
TEST_TIMEOUT_S = 4 * 3600 if IS_LONG else 300
