"""The HTTP face: wire shapes, their checks, and errors as JSON."""

import re
from typing import Annotated, Literal

from fastapi import FastAPI, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from starlette.exceptions import HTTPException

from .checkout import Checkout
from .errors import ApiError
from .store import Store
from .telemetry import Observe, log, stopping

Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]


def an_email(text: str) -> str:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", text):
        raise ValueError("is not an e-mail address")
    return text


def digits(text: str) -> str:
    number = re.sub(r"[ -]", "", text)
    if not re.fullmatch(r"[0-9]{12,19}", number):
        raise ValueError("is not a card number")
    return number


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Customer(Strict):
    name: Line
    email: Annotated[Line, AfterValidator(an_email)]
    address: Line
    postcode: Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=12)]
    city: Line


class Card(Strict):
    number: Annotated[str, StringConstraints(max_length=40), AfterValidator(digits)] = Field(repr=False)
    exp_month: Annotated[int, Field(ge=1, le=12)]
    exp_year: Annotated[int, Field(ge=2000, le=2100)]
    cvc: Annotated[str, StringConstraints(pattern=r"^[0-9]{3,4}$")] = Field(repr=False)


class Payment(Strict):
    method: Literal["card", "on_delivery"]
    card: Card | None = None

    @model_validator(mode="after")
    def card_goes_with_its_method(self):
        if (self.card is not None) != (self.method == "card"):
            raise ValueError("card is given exactly when method is 'card'")
        return self


class CheckoutBody(Strict):
    cart_id: Id
    customer_id: Id
    customer: Customer
    payment: Payment
    expected_total_cents: Annotated[int, Field(ge=0)] | None = None


def build_app(store: Store, checkout: Checkout) -> FastAPI:
    app = FastAPI(title="Piccolo orders", docs_url=None, redoc_url=None)
    app.add_middleware(Observe)
    shape_errors(app)

    @app.api_route("/healthz", methods=["GET", "HEAD"])
    def healthz():
        return {"status": "ok"}

    @app.api_route("/readyz", methods=["GET", "HEAD"])
    def readyz():
        if stopping.is_set():
            raise ApiError(503, "unavailable", "shutting down")
        store.ping()
        return {"status": "ready", "checks": {"database": "ok"}}

    @app.post("/orders", status_code=201)
    def place(body: CheckoutBody, response: Response, idempotency_key: Annotated[Id, Header()]):
        order, replayed = checkout.place(body.model_dump(), idempotency_key)
        if replayed:
            response.status_code = 200
            response.headers["idempotency-replayed"] = "true"
        return order

    @app.get("/orders")
    def orders(customer_id: Annotated[Id, Query()], limit: Annotated[int, Query(ge=1, le=100)] = 50):
        return {"items": store.orders_of(customer_id, limit)}

    @app.get("/orders/{order_id}")
    def order(order_id: Annotated[Id, Path()], customer_id: Annotated[Id, Query()]):
        found = store.order(order_id, customer_id)
        if not found:
            raise ApiError(404, "not_found", f"there is no order '{order_id}'")
        return found

    return app


def shape_errors(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def api_error(_: Request, error: ApiError):
        return JSONResponse(error.body(), error.status)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError):
        # Never the input itself: it may hold a card number.
        fields = [{"field": ".".join(str(part) for part in e["loc"][1:]), "message": e["msg"]} for e in error.errors()]
        return JSONResponse(ApiError(422, "invalid_request", "the request is not valid", {"fields": fields}).body(), 422)

    @app.exception_handler(HTTPException)
    async def plain(_: Request, error: HTTPException):
        codes = {404: "not_found", 405: "method_not_allowed"}
        return JSONResponse(ApiError(0, codes.get(error.status_code, "malformed_request"), str(error.detail)).body(),
                            error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def internal(_: Request, error: Exception):
        log("error", "request failed", error=f"{type(error).__name__}: {error}")
        return JSONResponse(ApiError(0, "internal", "something went wrong in orders").body(), 500)
