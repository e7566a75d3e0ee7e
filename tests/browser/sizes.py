"""How much pages take over the network."""

from playwright.async_api import Page, Request


class Transfers:
    """Counts the bytes of what a page asks for, as they went over the wire, from when it is made."""

    def __init__(self, page: Page) -> None:
        self._ended: list[Request] = []
        page.on("requestfinished", lambda request: self._ended.append(request))

    async def count_bytes(self) -> int:
        """Return the bytes of all answers that have ended, heads and bodies."""
        sizes = [await request.sizes() for request in self._ended]
        return sum(each["responseBodySize"] + each["responseHeadersSize"] for each in sizes)
