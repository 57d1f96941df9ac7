"""Checkout: claim → cart → hold stock → charge → commit stock → confirm. Whatever fails is undone.

Nothing that must happen later is kept in memory only. A step that has to be undone or finished is a *duty* in the
database, tried at once and then again until it succeeds; the peers' answers to a repeated duty are the same.
Money and stock cannot be lost by a crash at any line: an order that stays pending too long is given up with all
its compensations, and both "release" and "void" also hold against a request that arrives after them.
"""

import hashlib
import json
import secrets

from .errors import ApiError
from .peers import Cart, Catalog, Payments, PeerError, Unanswered, Unreached
from .store import Store, as_order
from .telemetry import log, now_iso

# No 0/O, 1/I/L: a customer reads this aloud on the phone.
ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
# Longer than all time limits of one checkout together.
ABANDONED_AFTER_S = 60.0


def new_order_id() -> str:
    pick = lambda: "".join(secrets.choice(ALPHABET) for _ in range(4))  # noqa: E731
    return f"PC-{pick()}-{pick()}"


class Checkout:
    def __init__(self, store: Store, cart: Cart, catalog: Catalog, payments: Payments | None):
        self.store, self.cart, self.catalog, self.payments = store, cart, catalog, payments

    def place(self, request: dict, key: str) -> tuple[dict, bool]:
        """The order, and whether it is an earlier one under the same key."""
        order = {"id": new_order_id(), "created_at": now_iso(), "customer": request["customer"]}
        known = self.store.claim(order, key, fingerprint(request), request["customer_id"], request["cart_id"])
        if known:
            return self._replay(known, request), True
        try:
            self._look_at_cart(order, request)
        except BaseException:
            self.store.drop_claim(order["id"])
            raise
        self._carry_out(order, request)
        self.work_off(order["id"])
        return {**order, "status": "confirmed"}, False

    def _replay(self, known, request: dict) -> dict:
        if known["request_hash"] != fingerprint(request):
            raise ApiError(422, "idempotency_key_reused", "this Idempotency-Key belongs to another checkout")
        if known["status"] == "pending":
            raise ApiError(409, "checkout_in_progress", "this checkout is still being worked on")
        if known["status"] == "failed":
            raise ApiError.restored(json.loads(known["error"]))
        return as_order(known)

    def _look_at_cart(self, order: dict, request: dict) -> None:
        try:
            cart = self.cart.get(request["cart_id"])
        except PeerError as error:
            raise unavailable(error) from error
        if not cart["items"]:
            raise ApiError(409, "cart_empty", "the cart is empty")
        if cart["stale"]:
            raise ApiError(503, "catalog_unavailable", "the catalog does not answer", {"service": "catalog"})
        order["items"] = [{"sku": item["sku"], "quantity": item["quantity"]} for item in cart["items"]]

    def _carry_out(self, order: dict, request: dict) -> None:
        """From here on other services change; every way out undoes what may have been done."""
        undo = ["release_stock"]
        try:
            self._hold_stock(order, request)
            if self.payments and request["payment"]["method"] == "card":
                undo.append("void_payment")
            order["payment"] = self._pay(order, request["payment"])
            self._commit_stock(order)
        except BaseException as failure:
            error = failure if isinstance(failure, ApiError) else ApiError(500, "internal", "the checkout failed")
            self.store.fail(order["id"], error.stored(), undo)
            log("warn", "checkout failed, undoing", order_id=order["id"], code=error.code, reason=str(failure))
            self.work_off(order["id"])
            raise
        if not self.store.confirm(order):
            raise ApiError(503, "checkout_abandoned", "the checkout took too long and was undone")
        log("info", "order confirmed", order_id=order["id"], total_cents=order["total_cents"],
            payment=order["payment"]["method"])

    def _hold_stock(self, order: dict, request: dict) -> None:
        try:
            status, body = self.catalog.reserve(order["id"], order["items"])
        except PeerError as error:
            raise unavailable(error) from error
        if status not in (200, 201):
            refusal = body.get("error", {})
            known = refusal.get("code") == "out_of_stock"
            raise ApiError(409, "out_of_stock" if known else "reservation_refused",
                           refusal.get("message", "the catalog refused"), refusal.get("details"))
        order["items"] = [
            {**item, "line_total_cents": item["quantity"] * item["unit_price_cents"]} for item in body["items"]
        ]
        order["total_cents"], order["currency"] = body["total_cents"], body["currency"]
        expected = request["expected_total_cents"]
        if expected is not None and expected != order["total_cents"]:
            raise ApiError(409, "price_changed", "a price has changed since the cart was shown",
                           {"expected_cents": expected, "total_cents": order["total_cents"]})

    def _pay(self, order: dict, payment: dict) -> dict:
        due = {"method": "on_delivery", "status": "due"}
        if payment["method"] == "on_delivery":
            return {**due, "reason": "chosen"}
        if not self.payments:
            return {**due, "reason": "payments_not_configured"}
        try:
            status, body = self.payments.charge(order["id"], order["total_cents"], payment["card"])
        except Unreached as error:
            log("warn", "payments cannot be reached, order is paid on delivery", order_id=order["id"], reason=str(error))
            return {**due, "reason": "payments_unavailable"}
        except Unanswered as error:
            # It may have been charged. Whatever became of it is voided, so nobody pays twice.
            self.store.add_duty(order["id"], "void_payment")
            log("warn", "payments gave no answer, order is paid on delivery", order_id=order["id"], reason=str(error))
            return {**due, "reason": "payments_unavailable"}
        if status in (200, 201):
            return {"method": "card", "status": "paid", "brand": body["brand"], "last4": body["last4"]}
        refusal = body.get("error", {})
        code = "card_declined" if status == 402 else "card_invalid"
        raise ApiError(402, code, refusal.get("message", "the card was refused"), refusal.get("details"))

    def _commit_stock(self, order: dict) -> None:
        try:
            status, _ = self.catalog.commit(order["id"])
        except PeerError as error:
            raise unavailable(error) from error
        if status != 200:
            raise ApiError(409, "reservation_lost", "the reserved stock was given back before the order was complete")

    def work_off(self, order_id: str | None = None) -> None:
        """Tries duties once: those of one order, or all that are due. What fails stays for later."""
        for duty in self.store.duties(order_id):
            order, kind = duty["order_id"], duty["kind"]
            try:
                self._do(kind, order, duty["cart_id"])
            except PeerError as error:
                self.store.duty_failed(order, kind, duty["attempts"] + 1, str(error))
                log("warn", "duty postponed", order_id=order, duty=kind, attempts=duty["attempts"] + 1, reason=str(error))
            else:
                self.store.duty_done(order, kind)
                if duty["attempts"]:
                    log("info", "duty done", order_id=order, duty=kind, attempts=duty["attempts"] + 1)

    def _do(self, kind: str, order_id: str, cart_id: str) -> None:
        match kind:
            case "release_stock":
                self.catalog.release(order_id)
            case "empty_cart":
                self.cart.empty(cart_id)
            case "void_payment" if self.payments:
                self.payments.void(order_id)
            case "void_payment":
                raise Unreached("payments", "PAYMENTS_URL is not set any more")

    def give_up_abandoned(self) -> None:
        """Orders that a crash left in the middle."""
        for order_id in self.store.abandoned(ABANDONED_AFTER_S):
            error = ApiError(503, "checkout_abandoned", "the checkout was interrupted and undone")
            undo = ["release_stock", "void_payment"] if self.payments else ["release_stock"]
            self.store.fail(order_id, error.stored(), undo)
            log("warn", "abandoned checkout is undone", order_id=order_id)


def unavailable(error: PeerError) -> ApiError:
    log("error", "peer unavailable", peer=error.peer, reason=error.reason)
    return ApiError(503, f"{error.peer}_unavailable", f"the {error.peer} does not answer", {"service": error.peer})


def fingerprint(request: dict) -> str:
    """Tells two checkouts under one key apart, without keeping a card number in any form."""
    payment = request["payment"]
    last4 = payment["card"]["number"][-4:] if payment["method"] == "card" else ""
    parts = [request["cart_id"], request["customer_id"], request["customer"], request["expected_total_cents"],
             payment["method"], last4]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
