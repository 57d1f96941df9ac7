"""Starts the service. Configuration is by environment alone: PORT (8080), CART_URL, CATALOG_URL, PAYMENTS_URL
(unset: every order is paid on delivery), DATABASE_PATH (data/orders.db, relative to the working directory)."""

import os
import sys
import threading
import time

import uvicorn

from . import BEGUN
from .api import build_app
from .checkout import Checkout
from .peers import Cart, Catalog, Payments
from .store import Store
from .telemetry import log, stopping

DRAIN_LIMIT_S = 4
WORK_EVERY_S = 2.0


class Server(uvicorn.Server):
    """uvicorn, which tells us at the signal, and not only after the last request, that it is about to stop."""

    def __init__(self, config: uvicorn.Config, port: int):
        super().__init__(config)
        self.listening_on = port

    async def startup(self, sockets=None):
        await super().startup(sockets)
        if self.started:
            log("info", "orders is listening", port=self.listening_on, startup_ms=round((time.perf_counter() - BEGUN) * 1000))

    def handle_exit(self, sig, frame):
        if not stopping.is_set():
            log("info", "draining", limit_ms=DRAIN_LIMIT_S * 1000)
        stopping.set()
        super().handle_exit(sig, frame)
        # uvicorn raises the signal again once it is done; a clean end of ours is exit code 0.
        self._captured_signals.clear()


def work(checkout: Checkout) -> None:
    while not stopping.wait(WORK_EVERY_S):
        try:
            checkout.give_up_abandoned()
            checkout.work_off()
        except Exception as error:  # the loop outlives a locked database
            log("error", "background work failed", error=f"{type(error).__name__}: {error}")


def main() -> int:
    try:
        port = int(os.environ.get("PORT") or 8080)
        store = Store(os.environ.get("DATABASE_PATH") or "data/orders.db")
        payments_url = os.environ.get("PAYMENTS_URL")
        checkout = Checkout(
            store,
            Cart(os.environ.get("CART_URL") or "http://localhost:8082"),
            Catalog(os.environ.get("CATALOG_URL") or "http://localhost:8081"),
            Payments(payments_url) if payments_url else None,
        )
    except Exception as error:
        log("error", "orders cannot start", error=str(error))
        return 1
    worker = threading.Thread(target=work, args=(checkout,), daemon=True)
    worker.start()
    config = uvicorn.Config(
        build_app(store, checkout), host="0.0.0.0", port=port, log_config=None, access_log=False,
        timeout_keep_alive=75, timeout_graceful_shutdown=DRAIN_LIMIT_S, server_header=False,
    )
    server = Server(config, port)
    server.run()
    if not server.started:
        log("error", "orders cannot start", error=f"port {port} cannot be used")
        return 1
    worker.join(timeout=0.5)
    store.close()
    log("info", "stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
