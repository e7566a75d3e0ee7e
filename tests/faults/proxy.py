"""A TCP proxy between a client and a server that cuts connections, and that can swallow or hold back what they say."""

import contextlib
import random
import socket
import threading


class Proxy:
    """Listens on a port of its own, or where it is told. `cut` ends every connection at once; while `is_deaf` answers
    get lost. What does not pass, in a direction, comes later, as after a partition of a network. Each 64 KiB of answers
    wait for `answer_delay_s`, as on a narrow line.
    """

    def __init__(self, address: str, *, listen: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.lead_to(address)
        self._listener = socket.create_server(listen)
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self.is_deaf, self._is_closed = threading.Event(), threading.Event()
        self.answer_delay_s = 0.0
        self.requests_pass, self.answers_pass = threading.Event(), threading.Event()
        self.requests_pass.set()
        self.answers_pass.set()
        self.address = f"{listen[0]}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._is_closed.set()
        self.heal()
        self.cut()

    def lead_to(self, address: str) -> None:
        """Lead new connections to another server; those that are open stay where they are."""
        host, _, port = address.rpartition(":")
        self._target = (host, int(port))

    def part(self, *, requests: bool = True, answers: bool = True) -> None:
        """Hold back what comes from the client, or from the server, or both, and keep the connections."""
        if requests:
            self.requests_pass.clear()
        if answers:
            self.answers_pass.clear()

    def heal(self) -> None:
        """Let pass what was held back, and what comes."""
        self.requests_pass.set()
        self.answers_pass.set()

    def cut(self) -> None:
        """End every connection, in both directions."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(self._target, timeout=5)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                for end in (client, server):
                    # What passes does so at once: neither end sends more before the other has answered.
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._pairs.append((client, server))
                threading.Thread(target=self._connect, args=(client, server), daemon=True).start()

    def _connect(self, client: socket.socket, server: socket.socket) -> None:
        with client, server:
            answers = threading.Thread(target=self._pump, args=(server, client, True), daemon=True)
            answers.start()
            self._pump(client, server, False)
            answers.join()

    def _pump(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        passes = self.answers_pass if is_answer else self.requests_pass
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                passes.wait()
                if is_answer and self.answer_delay_s:
                    self._is_closed.wait(self.answer_delay_s)
                if not (is_answer and self.is_deaf.is_set()):
                    sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def seeded(name: str) -> random.Random:
    """Return a source of chance whose seed is printed."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"{name}: seed {seed}")
    return random.Random(seed)
