"""A DNS server that tells where services are, as a headless Service of Kubernetes does: an A record a replica."""

import socketserver
import threading
from collections.abc import Sequence
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

TTL_S = 1
DOMAIN = "modelstead.test"


class Names:
    """Answers on a UDP port of loopback for as long as the block lasts; what it answers changes under way."""

    def __init__(self) -> None:
        self._addresses: dict[str, tuple[str, ...]] = {}
        self._server = socketserver.ThreadingUDPServer(("127.0.0.1", 0), self._handle)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Names":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def target(self, service: str, port: int) -> str:
        """Return under what gRPC finds a service if it asks here."""
        return f"dns://{self.address}/{service}.{DOMAIN}:{port}"

    def tell(self, service: str, addresses: Sequence[str]) -> None:
        """From now on these addresses are the service's."""
        self._addresses[f"{service}.{DOMAIN}."] = tuple(addresses)

    def _handle(self, request: Any, client: Any, server: Any) -> None:
        packet, socket = request
        query = dns.message.from_wire(packet)
        socket.sendto(self._answer(query).to_wire(), client)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.AA
        question = query.question[0]
        name = question.name.to_text().lower()
        if name not in self._addresses:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif question.rdtype == dns.rdatatype.A and self._addresses[name]:
            answer.answer.append(dns.rrset.from_text_list(question.name, TTL_S, "IN", "A", self._addresses[name]))
        return answer
