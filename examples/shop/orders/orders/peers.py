"""Calls to the other services, with the one distinction that a saga needs: did the request arrive or not?"""

import http.client
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as LookupTimeout
from urllib.parse import quote, urlsplit

from .telemetry import current

CONNECT_TIMEOUT_S = 1.0
LOOKUP_TIMEOUT_S = 1.5
_lookups = ThreadPoolExecutor(4, thread_name_prefix="lookup")


class PeerError(Exception):
    """The peer gave no usable answer."""

    def __init__(self, peer: str, reason: str):
        super().__init__(f"{peer}: {reason}")
        self.peer, self.reason = peer, reason


class Unreached(PeerError):
    """No connection was made: the peer has certainly done nothing."""


class Unanswered(PeerError):
    """The request may have arrived, and may have been carried out."""


class Peer:
    def __init__(self, name: str, base_url: str, timeout_s: float):
        parts = urlsplit(base_url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{name}: '{base_url}' is not an http:// address")
        self.name, self.timeout_s = name, timeout_s
        self.netloc = parts.netloc
        self.host, self.port, self.prefix = parts.hostname, parts.port or 80, parts.path.rstrip("/")

    def call(self, method: str, path: str, body: dict | None = None, headers: dict | None = None) -> tuple[int, dict]:
        """Answers (status, JSON body) for every status below 500; raises Unreached or Unanswered otherwise."""
        connection = http.client.HTTPConnection(self._address(), self.port, timeout=CONNECT_TIMEOUT_S)
        try:
            try:
                connection.connect()
            except OSError as error:
                raise Unreached(self.name, f"cannot connect ({error})") from error
            connection.sock.settimeout(self.timeout_s)
            return self._exchange(connection, method, path, body, headers or {})
        finally:
            connection.close()

    def _address(self) -> str:
        """Looks the name up with a time limit of our own: the resolver's may be half a minute."""
        lookup = _lookups.submit(socket.getaddrinfo, self.host, self.port, type=socket.SOCK_STREAM)
        try:
            return lookup.result(LOOKUP_TIMEOUT_S)[0][4][0]
        except (OSError, LookupTimeout) as error:
            raise Unreached(self.name, f"cannot find '{self.host}' ({error or 'no answer'})") from error

    def _exchange(self, connection, method, path, body, headers) -> tuple[int, dict]:
        payload = None if body is None else json.dumps(body).encode()
        sent = {"host": self.netloc, "accept": "application/json", "connection": "close", **current.get().headers(), **headers}
        if payload is not None:
            sent["content-type"] = "application/json"
        try:
            connection.request(method, self.prefix + path, payload, sent)
            response = connection.getresponse()
            raw = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unanswered(self.name, f"no answer ({error or type(error).__name__})") from error
        if response.status >= 500:
            raise Unanswered(self.name, f"answered {response.status}")
        try:
            return response.status, json.loads(raw) if raw else {}
        except ValueError as error:
            raise Unanswered(self.name, "answered something that is not JSON") from error


class Cart:
    def __init__(self, url: str):
        self.peer = Peer("cart", url, 3.0)

    def get(self, cart_id: str) -> dict:
        status, body = self.peer.call("GET", f"/carts/{quote(cart_id)}")
        if status != 200:
            raise Unanswered("cart", f"answered {status}")
        return body

    def empty(self, cart_id: str) -> None:
        self.peer.call("DELETE", f"/carts/{quote(cart_id)}")


class Catalog:
    def __init__(self, url: str):
        self.peer = Peer("catalog", url, 3.0)

    def reserve(self, order_id: str, items: list[dict]) -> tuple[int, dict]:
        lines = [{"sku": item["sku"], "quantity": item["quantity"]} for item in items]
        return self.peer.call("POST", "/reservations", {"id": order_id, "items": lines})

    def commit(self, order_id: str) -> tuple[int, dict]:
        return self.peer.call("POST", f"/reservations/{quote(order_id)}/commit")

    def release(self, order_id: str) -> None:
        status, _ = self.peer.call("DELETE", f"/reservations/{quote(order_id)}")
        if status not in (204, 404):
            raise Unanswered("catalog", f"answered {status} to a release")


class Payments:
    def __init__(self, url: str):
        self.peer = Peer("payments", url, 5.0)

    def charge(self, order_id: str, amount_cents: int, card: dict) -> tuple[int, dict]:
        body = {"amount_cents": amount_cents, "currency": "EUR", "reference": order_id, "card": card}
        return self.peer.call("POST", "/charges", body, {"idempotency-key": order_id})

    def void(self, order_id: str) -> None:
        status, _ = self.peer.call("POST", f"/charges/{quote(order_id)}/void")
        if status != 200:
            raise Unanswered("payments", f"answered {status} to a void")
