"""Checkout against peers that fail in every way, with a real database and real HTTP. Run: python -m unittest"""

import json
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from orders import telemetry
from orders.checkout import Checkout
from orders.errors import ApiError
from orders.peers import Cart, Catalog, Payments
from orders.store import Store

telemetry.log = lambda *_, **__: None
import orders.checkout  # noqa: E402

orders.checkout.log = telemetry.log


class Peers(BaseHTTPRequestHandler):
    """Cart, catalog and payments in one; `plan` says how the next calls of a kind end."""

    protocol_version = "HTTP/1.1"
    plan: dict = {}
    stock = 10
    held: dict = {}
    charges: dict = {}
    cart_items: list = []
    carts_emptied = 0

    @classmethod
    def reset(cls):
        cls.plan, cls.stock, cls.held, cls.charges = {}, 10, {}, {}
        cls.cart_items, cls.carts_emptied = [{"sku": "whistle", "quantity": 2}], 0

    def handle_any(self):
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        parts = self.path.strip("/").split("/")
        kind = self.command + " " + "/".join(parts[:1] + parts[2:])
        outcome = self.plan.get(kind)
        if outcome == "hang up":
            self.close_connection = True
            return
        status, answer = self.act(kind, parts, body)
        if outcome == "do it, then hang up":
            self.close_connection = True
            return
        if isinstance(outcome, int):
            status, answer = outcome, {"error": {"code": "planned", "message": "as planned"}}
        raw = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_DELETE = handle_any

    def act(self, kind, parts, body):
        if isinstance(self.plan.get(kind), int):
            return 0, None
        cls = type(self)
        match kind:
            case "GET carts":
                return 200, {"items": cls.cart_items, "stale": False}
            case "DELETE carts":
                cls.carts_emptied += 1
                return 204, None
            case "POST reservations":
                quantity = sum(item["quantity"] for item in body["items"])
                cls.stock -= quantity
                cls.held[body["id"]] = quantity
                lines = [{**item, "name": "Whistle", "unit_price_cents": 1400} for item in body["items"]]
                return 201, {"items": lines, "total_cents": quantity * 1400, "currency": "EUR"}
            case "POST reservations/commit":
                return 200, {}
            case "DELETE reservations":
                cls.stock += cls.held.pop(parts[1], 0)
                return 204, None
            case "POST charges":
                cls.charges[body["reference"]] = "captured"
                return 201, {"brand": "visa", "last4": "4242"}
            case "POST charges/void":
                cls.charges[parts[1]] = "voided"
                return 200, {}
        return 404, {"error": {"code": "not_found", "message": kind}}

    def log_message(self, *_):
        pass


class CheckoutTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = ThreadingHTTPServer(("127.0.0.1", 0), Peers)
        threading.Thread(target=cls.server.serve_forever, daemon=True).start()
        cls.url = f"http://127.0.0.1:{cls.server.server_address[1]}"

    @classmethod
    def tearDownClass(cls):
        cls.server.shutdown()
        cls.server.server_close()

    def setUp(self):
        Peers.reset()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.store = Store(str(Path(folder.name) / "orders.db"))
        self.addCleanup(self.store.close)
        self.checkout = self.checkout_with(Payments(self.url))

    def checkout_with(self, payments):
        return Checkout(self.store, Cart(self.url), Catalog(self.url), payments)

    def place(self, key="key-00000001", method="card", expected=2800, checkout=None):
        card = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2039, "cvc": "123"}
        request = {"cart_id": "cart-0001", "customer_id": "customer-1", "customer": {"name": "Clara"},
                   "payment": {"method": method, "card": card if method == "card" else None},
                   "expected_total_cents": expected}
        return (checkout or self.checkout).place(request, key)

    def refused(self, code, **how):
        with self.assertRaises(ApiError) as caught:
            self.place(**how)
        self.assertEqual(caught.exception.code, code)

    def test_an_order_is_paid_committed_and_kept(self):
        order, replayed = self.place()
        self.assertFalse(replayed)
        self.assertEqual((order["status"], order["payment"]["status"], order["total_cents"]), ("confirmed", "paid", 2800))
        self.assertEqual((Peers.stock, Peers.carts_emptied), (8, 1))
        self.assertEqual(self.store.order(order["id"], "customer-1")["items"][0]["line_total_cents"], 2800)
        self.assertIsNone(self.store.order(order["id"], "customer-2"))

    def test_the_same_key_is_the_same_order(self):
        first, _ = self.place()
        again, replayed = self.place()
        self.assertTrue(replayed)
        self.assertEqual(first["id"], again["id"])
        self.assertEqual(len(Peers.charges), 1)
        self.refused("idempotency_key_reused", expected=1)

    def test_a_declined_card_gives_the_stock_back_and_stays_declined(self):
        Peers.plan = {"POST charges": 402}
        self.refused("card_declined")
        self.assertEqual((Peers.stock, Peers.carts_emptied), (10, 0))
        Peers.plan = {}
        self.refused("card_declined")

    def test_a_changed_price_is_not_charged(self):
        self.refused("price_changed", expected=2700)
        self.assertEqual((Peers.stock, Peers.charges), (10, {}))

    def test_what_never_began_may_be_tried_again_under_its_key(self):
        Peers.plan = {"GET carts": 503}
        self.refused("cart_unavailable")
        Peers.plan = {}
        self.assertEqual(self.place()[0]["status"], "confirmed")

    def test_an_empty_cart_is_no_order(self):
        Peers.cart_items = []
        self.refused("cart_empty")
        self.assertEqual(self.store.duties(), [])

    def test_no_payments_means_on_delivery(self):
        order, _ = self.place(checkout=self.checkout_with(None))
        self.assertEqual(order["payment"], {"method": "on_delivery", "status": "due", "reason": "payments_not_configured"})
        closed = ThreadingHTTPServer(("127.0.0.1", 0), Peers)
        port = closed.server_address[1]
        closed.server_close()
        order, _ = self.place(key="key-00000002", checkout=self.checkout_with(Payments(f"http://127.0.0.1:{port}")))
        self.assertEqual(order["payment"]["reason"], "payments_unavailable")
        self.assertEqual(self.store.duties(), [])

    def test_a_charge_without_an_answer_is_voided_and_nobody_pays_twice(self):
        Peers.plan = {"POST charges": "do it, then hang up", "POST charges/void": 503}
        order, _ = self.place()
        self.assertEqual((order["status"], order["payment"]["status"]), ("confirmed", "due"))
        self.assertEqual(Peers.charges[order["id"]], "captured")
        Peers.plan = {}
        self.checkout.work_off(order["id"])
        self.assertEqual(Peers.charges[order["id"]], "voided")
        self.assertEqual(self.store.duties(order["id"]), [])

    def test_a_lost_hold_is_released_later(self):
        Peers.plan = {"POST reservations": "do it, then hang up", "DELETE reservations": "hang up"}
        self.refused("catalog_unavailable")
        self.assertEqual(Peers.stock, 8)
        Peers.plan = {}
        [duty] = self.store.db.execute("SELECT order_id, attempts FROM duties").fetchall()
        self.assertEqual(duty["attempts"], 1)
        self.checkout.work_off(duty["order_id"])
        self.assertEqual(Peers.stock, 10)

    def test_a_failed_commit_undoes_the_charge_too(self):
        Peers.plan = {"POST reservations/commit": 500}
        self.refused("catalog_unavailable")
        self.assertEqual((Peers.stock, list(Peers.charges.values())), (10, ["voided"]))

    def test_a_crash_in_the_middle_is_undone_after_a_restart(self):
        order = {"id": "PC-DEAD-BEEF", "created_at": "2026-01-01T00:00:00Z"}
        self.store.claim(order, "key-00000009", "hash", "customer-1", "cart-0001")
        Peers.stock, Peers.held, Peers.charges = 8, {order["id"]: 2}, {order["id"]: "captured"}
        self.checkout.give_up_abandoned()
        self.assertEqual(self.store.duties(), [], "a young order is still being worked on")
        self.store.db.execute("UPDATE orders SET touched_at = touched_at - 120")
        self.checkout.give_up_abandoned()
        self.checkout.work_off()
        self.assertEqual((Peers.stock, Peers.charges[order["id"]]), (10, "voided"))
        self.assertFalse(self.store.confirm({**order, "items": []}), "a given-up order cannot be confirmed any more")


if __name__ == "__main__":
    unittest.main()
