package main

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite"
)

const schema = `
CREATE TABLE IF NOT EXISTS charges (
  id TEXT PRIMARY KEY,
  status TEXT NOT NULL CHECK (status IN ('captured', 'declined', 'voided', 'refunded')),
  amount_cents INTEGER NOT NULL, refunded_cents INTEGER NOT NULL DEFAULT 0 CHECK (refunded_cents <= amount_cents),
  currency TEXT NOT NULL, reference TEXT NOT NULL, brand TEXT NOT NULL, last4 TEXT NOT NULL,
  reason TEXT NOT NULL, message TEXT NOT NULL, created_at TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS refunds (
  id TEXT PRIMARY KEY, charge TEXT NOT NULL REFERENCES charges (id), amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
  created_at TEXT NOT NULL) STRICT;`

var (
	errKeyReused  = errors.New("this Idempotency-Key was used for something else")
	errVoided     = errors.New("this charge was voided")
	errNotFound   = errors.New("there is no such charge")
	errNoMoney    = errors.New("more than what is left of this charge")
	errNotCharged = errors.New("nothing was charged")
)

type charge struct {
	ID            string `json:"id"`
	Status        string `json:"status"`
	AmountCents   int64  `json:"amount_cents"`
	RefundedCents int64  `json:"refunded_cents"`
	Currency      string `json:"currency"`
	Reference     string `json:"reference"`
	Brand         string `json:"brand"`
	Last4         string `json:"last4"`
	Reason        string `json:"reason,omitempty"`
	Message       string `json:"-"`
	CreatedAt     string `json:"created_at"`
}

// Store keeps charges. A card number is never part of one: brand and last four digits are.
type Store struct{ db *sql.DB }

func openStore(path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	options := url.Values{"_txlock": {"immediate"}, "_pragma": {"busy_timeout(2000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"}}
	db, err := sql.Open("sqlite", "file:"+path+"?"+options.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(schema); err != nil {
		return nil, err
	}
	return &Store{db}, nil
}

func (s *Store) Close() error { return s.db.Close() }

func (s *Store) Ping(ctx context.Context) error {
	var one int
	return s.db.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 FROM charges LIMIT 1)").Scan(&one)
}

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func find(ctx context.Context, q querier, id string) (charge, error) {
	var c charge
	row := q.QueryRowContext(ctx, `SELECT id, status, amount_cents, refunded_cents, currency, reference, brand, last4,
		reason, message, created_at FROM charges WHERE id = ?`, id)
	err := row.Scan(&c.ID, &c.Status, &c.AmountCents, &c.RefundedCents, &c.Currency, &c.Reference, &c.Brand, &c.Last4,
		&c.Reason, &c.Message, &c.CreatedAt)
	if errors.Is(err, sql.ErrNoRows) {
		return c, errNotFound
	}
	return c, err
}

func (s *Store) Find(ctx context.Context, id string) (charge, error) { return find(ctx, s.db, id) }

// Known answers the charge under this id when it is the same one, so that a repeated request is not decided twice.
func (s *Store) Known(ctx context.Context, wanted charge) (charge, bool, error) {
	known, err := find(ctx, s.db, wanted.ID)
	switch {
	case errors.Is(err, errNotFound):
		return charge{}, false, nil
	case err != nil:
		return charge{}, false, err
	}
	return known, true, conflict(known, wanted)
}

func conflict(known, wanted charge) error {
	if known.Status == "voided" {
		return errVoided
	}
	same := known.AmountCents == wanted.AmountCents && known.Currency == wanted.Currency &&
		known.Reference == wanted.Reference && known.Last4 == wanted.Last4
	if !same {
		return errKeyReused
	}
	return nil
}

// Record writes the bank's decision once; when two requests race, both get the decision of the first.
func (s *Store) Record(ctx context.Context, decided charge) (charge, bool, error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return charge{}, false, err
	}
	defer tx.Rollback()
	if known, err := find(ctx, tx, decided.ID); err == nil {
		return known, false, conflict(known, decided)
	} else if !errors.Is(err, errNotFound) {
		return charge{}, false, err
	}
	decided.CreatedAt = now()
	if err := insert(ctx, tx, decided); err != nil {
		return charge{}, false, err
	}
	return decided, true, tx.Commit()
}

func insert(ctx context.Context, tx *sql.Tx, c charge) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO charges (id, status, amount_cents, currency, reference, brand, last4, reason,
		message, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		c.ID, c.Status, c.AmountCents, c.Currency, c.Reference, c.Brand, c.Last4, c.Reason, c.Message, c.CreatedAt)
	return err
}

// Void takes a charge back whatever became of it. An id that was never seen is marked, so that a charge which is
// still on its way is refused when it arrives.
func (s *Store) Void(ctx context.Context, id string) (charge, error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return charge{}, err
	}
	defer tx.Rollback()
	known, err := find(ctx, tx, id)
	if errors.Is(err, errNotFound) {
		known = charge{ID: id, Status: "voided", Currency: "EUR", CreatedAt: now()}
		if err := insert(ctx, tx, known); err != nil {
			return charge{}, err
		}
		return known, tx.Commit()
	}
	if err != nil {
		return charge{}, err
	}
	if known.Status == "captured" {
		if _, err := tx.ExecContext(ctx, "UPDATE charges SET status = 'voided' WHERE id = ?", id); err != nil {
			return charge{}, err
		}
		known.Status = "voided"
	}
	return known, tx.Commit()
}

// Refund gives back a part, or with 0 all that is left.
func (s *Store) Refund(ctx context.Context, id, key string, cents int64) (charge, error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return charge{}, err
	}
	defer tx.Rollback()
	known, err := find(ctx, tx, id)
	if err != nil {
		return known, err
	}
	var earlier string
	err = tx.QueryRowContext(ctx, "SELECT charge FROM refunds WHERE id = ?", key).Scan(&earlier)
	if err == nil && earlier == id {
		return known, nil
	} else if err == nil {
		return known, errKeyReused
	} else if !errors.Is(err, sql.ErrNoRows) {
		return known, err
	}
	left := known.AmountCents - known.RefundedCents
	if cents == 0 {
		cents = left
	}
	switch {
	case known.Status != "captured" && known.Status != "refunded":
		return known, errNotCharged
	case cents > left || cents == 0:
		return known, errNoMoney
	}
	known.RefundedCents += cents
	if known.RefundedCents == known.AmountCents {
		known.Status = "refunded"
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO refunds VALUES (?, ?, ?, ?)", key, id, cents, now()); err != nil {
		return known, err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE charges SET status = ?, refunded_cents = ? WHERE id = ?", known.Status, known.RefundedCents, id); err != nil {
		return known, err
	}
	return known, tx.Commit()
}

func now() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000Z") }
