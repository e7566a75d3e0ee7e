"""One address for the replicas of a service, as a Service of Kubernetes is: new connections go to those that it knows,
in turn, and those that are there stay where they are.
"""

import contextlib
import itertools
import socket
import threading
from collections import Counter
from collections.abc import Sequence

from services.common.settings import Address

_HOST = "127.0.0.1"


class Switch:
    """Listens as long as the block lasts; `replicas` may be set anew at any time."""

    def __init__(self) -> None:
        self._listener = socket.create_server((_HOST, 0), backlog=512)
        self._turns = itertools.count()
        self._lock = threading.Lock()
        self._connections = Counter[Address]()
        self.replicas: Sequence[Address] = ()
        self.address = Address(*self._listener.getsockname())

    def __enter__(self) -> "Switch":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def connections(self, replica: Address) -> int:
        """How many connections a replica has by way of here."""
        with self._lock:
            return self._connections[replica]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with self._lock:
                    replicas = self.replicas
                    if not replicas:
                        client.close()
                        continue
                    replica = replicas[next(self._turns) % len(replicas)]
                    self._connections[replica] += 1
                threading.Thread(target=self._connect, args=(client, replica), daemon=True).start()

    def _connect(self, client: socket.socket, replica: Address) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection((replica.host, replica.port)) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answers = threading.Thread(target=_pump, args=(server, client), daemon=True)
            answers.start()
            _pump(client, server)
            answers.join()
        with self._lock:
            self._connections[replica] -= 1


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
