"""A process with a resolver that forks while it is connected: `forking.py ADDRESS`.

It prints what it resolves, then what three children do; children and parent then wait for version 5. A process of its
own, because that of a test also has a gRPC server, and old releases of gRPC do not survive a fork with one.
"""

import os
import sys
import time

from modelstead import ModelResolver

_CHILDREN = 3
_TIMEOUT_S = 60.0


def main(address: str) -> int:
    """Return 0 if the parent and all children come to version 5."""
    closed = ModelResolver(address)
    closed.close()
    resolver = ModelResolver(address, names=["fraud"], wait_s=_TIMEOUT_S)
    print(resolver.get("fraud@champion").version, flush=True)
    children = [child for _ in range(_CHILDREN) if (child := _fork(resolver, closed))]
    succeeded = _reaches(resolver, "5")
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    resolver.close()
    return 0 if succeeded and codes == [0] * _CHILDREN else 1


def _fork(resolver: ModelResolver, closed: ModelResolver) -> int:
    child = os.fork()
    if child:
        return child
    print(resolver.get("fraud@champion").version, flush=True)
    succeeded = _reaches(resolver, "5")
    resolver.close()
    closed.close()
    os._exit(0 if succeeded else 1)


def _reaches(resolver: ModelResolver, version: str) -> bool:
    deadline = time.monotonic() + _TIMEOUT_S
    while resolver.get("fraud@champion").version != version:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
