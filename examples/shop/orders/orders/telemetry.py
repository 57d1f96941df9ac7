"""One JSON object per line on stdout, and the trace context that travels from service to service."""

import json
import re
import sys
import threading
import time
import uuid
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timezone

TRACEPARENT = re.compile(r"^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
QUIET_PATHS = ("/healthz", "/readyz")


@dataclass(frozen=True)
class Context:
    """What a request carries; the empty one belongs to background work."""

    request_id: str = ""
    trace_id: str = ""
    traceparent: str = ""
    tracestate: str = ""

    @staticmethod
    def of(headers: dict[str, str]) -> "Context":
        traceparent = headers.get("traceparent", "")
        match = TRACEPARENT.match(traceparent)
        given = headers.get("x-request-id", "")
        request_id = given if 0 < len(given) <= 128 else str(uuid.uuid4())
        if not match:
            return Context(request_id)
        return Context(request_id, match[1], traceparent, headers.get("tracestate", ""))

    def headers(self) -> dict[str, str]:
        pairs = {"x-request-id": self.request_id, "traceparent": self.traceparent, "tracestate": self.tracestate}
        return {name: value for name, value in pairs.items() if value}


current: ContextVar[Context] = ContextVar("context", default=Context())
stopping = threading.Event()
_stdout_lock = threading.Lock()


def now_iso() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def log(level: str, msg: str, **fields: object) -> None:
    context = current.get()
    line = {"ts": now_iso(), "level": level, "msg": msg, "service": "orders", **fields}
    if context.trace_id:
        line["trace_id"] = context.trace_id
    if context.request_id:
        line["request_id"] = context.request_id
    with _stdout_lock:
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
        sys.stdout.flush()


class Observe:
    """ASGI middleware: context in, access line out, and "Connection: close" while the service drains."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        context = Context.of(headers)
        token = current.set(context)
        begun, status = time.perf_counter(), 500

        async def observed(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                extra = [(b"x-request-id", context.request_id.encode("latin-1"))]
                if stopping.is_set():
                    extra.append((b"connection", b"close"))
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        try:
            await self.app(scope, receive, observed)
        finally:
            if scope["path"] not in QUIET_PATHS or status >= 500:
                duration_ms = round((time.perf_counter() - begun) * 1000, 1)
                level = "error" if status >= 500 else "info"
                log(level, "request", method=scope["method"], path=scope["path"], status=status, duration_ms=duration_ms)
            current.reset(token)
