package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func service(t *testing.T) (http.Handler, *Store) {
	t.Helper()
	store, err := openStore(filepath.Join(t.TempDir(), "payments.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return router(store, &atomic.Bool{}), store
}

func call(h http.Handler, method, path, key, body string) (int, map[string]any) {
	request := httptest.NewRequest(method, path, bytes.NewBufferString(body))
	request.Header.Set("Idempotency-Key", key)
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, request)
	var answer map[string]any
	json.Unmarshal(recorder.Body.Bytes(), &answer)
	return recorder.Code, answer
}

func pay(h http.Handler, key, number string, cents int) (int, map[string]any) {
	return call(h, "POST", "/charges", key, fmt.Sprintf(
		`{"amount_cents":%d,"currency":"EUR","reference":"order-1","card":{"number":"%s","exp_month":12,"exp_year":2099,"cvc":"123"}}`, cents, number))
}

func code(answer map[string]any) any {
	if problem, ok := answer["error"].(map[string]any); ok {
		return problem["code"]
	}
	return nil
}

func TestEveryTestCardHasItsOutcome(t *testing.T) {
	h, _ := service(t)
	index := 0
	for number, bank := range testCards {
		index++
		if bank.delay > 0 {
			continue
		}
		status, answer := pay(h, fmt.Sprintf("order-%04d", index), number, 500)
		want := http.StatusCreated
		if bank.outage {
			want = http.StatusBadGateway
		} else if bank.decline != "" {
			want = http.StatusPaymentRequired
		}
		if status != want {
			t.Errorf("%s: %d %v, want %d", number, status, answer, want)
		}
	}
	if status, answer := pay(h, "order-9999", "4111111111111111", 500); status != 422 || code(answer) != "not_a_test_card" {
		t.Errorf("an undocumented card: %d %v", status, answer)
	}
}

func TestAChargeIsMadeOnce(t *testing.T) {
	h, store := service(t)
	var created atomic.Int32
	var group sync.WaitGroup
	for range 20 {
		group.Add(1)
		go func() {
			defer group.Done()
			if status, _ := pay(h, "order-0001", "4242424242424242", 1400); status == http.StatusCreated {
				created.Add(1)
			} else if status != http.StatusOK {
				t.Errorf("status %d", status)
			}
		}()
	}
	group.Wait()
	var rows int
	store.db.QueryRow("SELECT count(*) FROM charges").Scan(&rows)
	if created.Load() != 1 || rows != 1 {
		t.Fatalf("%d created, %d rows", created.Load(), rows)
	}
	if status, answer := pay(h, "order-0001", "4242424242424242", 1500); status != 409 || code(answer) != "idempotency_key_reused" {
		t.Fatalf("another amount under the same key: %d %v", status, answer)
	}
}

func TestAVoidHoldsAgainstALaterCharge(t *testing.T) {
	h, _ := service(t)
	if status, answer := call(h, "POST", "/charges/order-0002/void", "", ""); status != 200 || answer["status"] != "voided" {
		t.Fatalf("void of nothing: %d %v", status, answer)
	}
	if status, answer := pay(h, "order-0002", "4242424242424242", 100); status != 409 || code(answer) != "charge_voided" {
		t.Fatalf("charge after void: %d %v", status, answer)
	}
	pay(h, "order-0003", "4242424242424242", 100)
	for range 2 {
		if status, answer := call(h, "POST", "/charges/order-0003/void", "", ""); status != 200 || answer["status"] != "voided" {
			t.Fatalf("void: %d %v", status, answer)
		}
	}
}

func TestRefundsNeverExceedTheCharge(t *testing.T) {
	h, _ := service(t)
	pay(h, "order-0004", "4242424242424242", 1000)
	steps := []struct {
		key, body string
		status    int
		refunded  float64
	}{
		{"refund-01", `{"amount_cents":400}`, 200, 400},
		{"refund-01", `{"amount_cents":400}`, 200, 400},
		{"refund-02", `{"amount_cents":700}`, 409, 0},
		{"refund-03", ``, 200, 1000},
		{"refund-04", ``, 409, 0},
	}
	for _, step := range steps {
		status, answer := call(h, "POST", "/charges/order-0004/refund", step.key, step.body)
		if status != step.status || (status == 200 && answer["refunded_cents"] != step.refunded) {
			t.Errorf("%+v: %d %v", step, status, answer)
		}
	}
}

func TestACardIsGoodUntilTheEndOfItsMonth(t *testing.T) {
	for _, c := range []struct {
		now  string
		gone bool
	}{{"2027-02-28T23:59:59Z", false}, {"2027-03-01T00:00:00Z", true}, {"2026-12-31T00:00:00Z", false}} {
		moment, _ := time.Parse(time.RFC3339, c.now)
		if expired(2, 2027, moment) != c.gone {
			t.Errorf("%s", c.now)
		}
	}
}
