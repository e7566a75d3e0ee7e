"""What a container says of the memory that it may have."""

import math
from pathlib import Path

import pytest

from services.common import memory


@pytest.mark.parametrize(
    ("second", "first", "limit"),
    [
        ("536870912\n", None, 536_870_912),
        ("max\n", None, math.inf),
        (None, "805306368\n", 805_306_368),
        (None, "9223372036854771712\n", math.inf),
        (None, None, math.inf),
    ],
)
def test_the_limit_is_that_of_the_control_group(
    tmp_path: Path, second: str | None, first: str | None, limit: float
) -> None:
    files = []
    for name, text in (("memory.max", second), ("memory.limit_in_bytes", first)):
        files.append(tmp_path / name)
        if text is not None:
            files[-1].write_text(text)

    assert memory.limit_bytes(files) == limit
