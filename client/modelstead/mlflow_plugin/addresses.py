"""Where the gateway of a `modelstead://` URI speaks REST."""

from modelstead.runs import connection


def rest(uri: str) -> str:
    """Return the gateway's http address for `modelstead://…`, its https one for `+tls`; any other URI as it is."""
    return connection.gateway_url(uri) or uri
