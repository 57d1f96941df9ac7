package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
)

const maxBodyBytes = 16 << 10

var (
	idShape     = regexp.MustCompile(`^[A-Za-z0-9_-]{8,64}$`)
	numberShape = regexp.MustCompile(`^[0-9]{12,19}$`)
	cvcShape    = regexp.MustCompile(`^[0-9]{3,4}$`)
)

type api struct {
	store    *Store
	stopping *atomic.Bool
}

func router(store *Store, stopping *atomic.Bool) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	a := api{store, stopping}
	r := gin.New()
	r.HandleMethodNotAllowed = true
	r.Use(observe(stopping), gin.CustomRecoveryWithWriter(nil, func(c *gin.Context, cause any) {
		logLine("error", "request panicked", fields{"request_id": c.GetString("request_id")})
		fail(c, http.StatusInternalServerError, "internal", "something went wrong in payments")
	}))
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		r.Handle(method, "/healthz", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "ok"}) })
		r.Handle(method, "/readyz", a.ready)
	}
	r.POST("/charges", a.charge)
	r.GET("/charges/:id", a.get)
	r.POST("/charges/:id/void", a.void)
	r.POST("/charges/:id/refund", a.refund)
	r.NoRoute(func(c *gin.Context) { fail(c, http.StatusNotFound, "not_found", "there is nothing at this path") })
	r.NoMethod(func(c *gin.Context) {
		fail(c, http.StatusMethodNotAllowed, "method_not_allowed", "this path has no such method")
	})
	return r
}

func fail(c *gin.Context, status int, code, message string) {
	c.AbortWithStatusJSON(status, gin.H{"error": gin.H{"code": code, "message": message}})
}

func (a api) ready(c *gin.Context) {
	if a.stopping.Load() {
		fail(c, http.StatusServiceUnavailable, "unavailable", "shutting down")
		return
	}
	if err := a.store.Ping(c.Request.Context()); err != nil {
		fail(c, http.StatusServiceUnavailable, "unavailable", "the database does not answer")
		return
	}
	c.JSON(http.StatusOK, gin.H{"status": "ready", "checks": gin.H{"database": "ok"}})
}

type chargeBody struct {
	AmountCents int64  `json:"amount_cents"`
	Currency    string `json:"currency"`
	Reference   string `json:"reference"`
	Card        struct {
		Number   string `json:"number"`
		ExpMonth int    `json:"exp_month"`
		ExpYear  int    `json:"exp_year"`
		CVC      string `json:"cvc"`
	} `json:"card"`
}

// problem says what is wrong with a body, in words that never repeat the card number.
func (b *chargeBody) problem() string {
	b.Card.Number = strings.NewReplacer(" ", "", "-", "").Replace(b.Card.Number)
	switch {
	case b.AmountCents < 1 || b.AmountCents > 10_000_000:
		return "amount_cents is 1 to 10000000"
	case b.Currency != "EUR":
		return "currency is EUR"
	case b.Reference == "" || len(b.Reference) > 64:
		return "reference has 1 to 64 characters"
	case !numberShape.MatchString(b.Card.Number):
		return "card.number has 12 to 19 digits"
	case b.Card.ExpMonth < 1 || b.Card.ExpMonth > 12 || b.Card.ExpYear < 2000 || b.Card.ExpYear > 2100:
		return "card.exp_month and card.exp_year are a month and a year"
	case !cvcShape.MatchString(b.Card.CVC):
		return "card.cvc has 3 or 4 digits"
	}
	return ""
}

func (a api) charge(c *gin.Context) {
	var body chargeBody
	key := c.GetHeader("Idempotency-Key")
	if !idShape.MatchString(key) {
		fail(c, http.StatusUnprocessableEntity, "invalid_request", "the Idempotency-Key header has 8 to 64 letters, digits, '-' or '_'")
		return
	}
	if !decode(c, &body) {
		return
	}
	if problem := body.problem(); problem != "" {
		fail(c, http.StatusUnprocessableEntity, "invalid_request", problem)
		return
	}
	number := body.Card.Number
	wanted := charge{
		ID: key, Status: "captured", AmountCents: body.AmountCents, Currency: body.Currency, Reference: body.Reference,
		Brand: brandOf(number), Last4: number[len(number)-4:],
	}
	if known, found, err := a.store.Known(c.Request.Context(), wanted); found || err != nil {
		answer(c, known, http.StatusOK, err)
		return
	}
	bank, exists := testCards[number]
	if !exists {
		fail(c, http.StatusUnprocessableEntity, "not_a_test_card", "this is a simulator: use one of the documented test cards")
		return
	}
	if bank.outage {
		fail(c, http.StatusBadGateway, "processor_unavailable", "the card processor does not answer")
		return
	}
	select {
	case <-time.After(bank.delay):
	case <-c.Request.Context().Done():
		// The caller has gone, but the bank has not: the decision is recorded all the same, as in life.
	}
	if expired(body.Card.ExpMonth, body.Card.ExpYear, time.Now()) {
		bank = testCards["4000000000000069"]
	}
	if bank.decline != "" {
		wanted.Status, wanted.Reason, wanted.Message = "declined", bank.decline, bank.message
	}
	decided, fresh, err := a.store.Record(detached(c), wanted)
	status := http.StatusOK
	if fresh {
		status = http.StatusCreated
	}
	answer(c, decided, status, err)
}

func (a api) get(c *gin.Context) {
	found, err := a.store.Find(c.Request.Context(), c.Param("id"))
	if err == nil {
		c.JSON(http.StatusOK, found)
		return
	}
	answer(c, found, http.StatusOK, err)
}

func (a api) void(c *gin.Context) {
	id := c.Param("id")
	if !idShape.MatchString(id) {
		fail(c, http.StatusUnprocessableEntity, "invalid_request", "an id has 8 to 64 letters, digits, '-' or '_'")
		return
	}
	voided, err := a.store.Void(c.Request.Context(), id)
	if err != nil {
		answer(c, voided, http.StatusOK, err)
		return
	}
	c.JSON(http.StatusOK, voided)
}

func (a api) refund(c *gin.Context) {
	var body struct {
		AmountCents int64 `json:"amount_cents"`
	}
	key := c.GetHeader("Idempotency-Key")
	if !idShape.MatchString(key) {
		fail(c, http.StatusUnprocessableEntity, "invalid_request", "the Idempotency-Key header has 8 to 64 letters, digits, '-' or '_'")
		return
	}
	if c.Request.ContentLength != 0 && !decode(c, &body) {
		return
	}
	if body.AmountCents < 0 {
		fail(c, http.StatusUnprocessableEntity, "invalid_request", "amount_cents is 0 (all that is left) or more")
		return
	}
	refunded, err := a.store.Refund(c.Request.Context(), c.Param("id"), key, body.AmountCents)
	answer(c, refunded, http.StatusOK, err)
}

func decode(c *gin.Context, into any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(c.Writer, c.Request.Body, maxBodyBytes))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		fail(c, http.StatusBadRequest, "malformed_request", "the body is not the JSON that is expected here")
		return false
	}
	return true
}

func answer(c *gin.Context, result charge, status int, err error) {
	switch {
	case err == nil && result.Status == "declined":
		c.JSON(http.StatusPaymentRequired, gin.H{"error": gin.H{
			"code": "card_declined", "message": result.Message, "details": gin.H{"reason": result.Reason},
		}})
	case err == nil:
		c.JSON(status, result)
	case errors.Is(err, errNotFound):
		fail(c, http.StatusNotFound, "not_found", err.Error())
	case errors.Is(err, errVoided):
		fail(c, http.StatusConflict, "charge_voided", err.Error())
	case errors.Is(err, errKeyReused):
		fail(c, http.StatusConflict, "idempotency_key_reused", err.Error())
	case errors.Is(err, errNoMoney), errors.Is(err, errNotCharged):
		fail(c, http.StatusConflict, "not_refundable", err.Error())
	default:
		logLine("error", "request failed", fields{"error": err.Error(), "request_id": c.GetString("request_id")})
		fail(c, http.StatusInternalServerError, "internal", "something went wrong in payments")
	}
}

// detached lets a decision be written although the caller has hung up.
func detached(c *gin.Context) context.Context { return context.WithoutCancel(c.Request.Context()) }
