"""Orders and what still has to be undone, in one SQLite file."""

import json
import sqlite3
import threading
import time
from contextlib import contextmanager
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
  id TEXT PRIMARY KEY, idempotency_key TEXT NOT NULL UNIQUE, request_hash TEXT NOT NULL,
  customer_id TEXT NOT NULL, cart_id TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('pending', 'confirmed', 'failed')),
  created_at TEXT NOT NULL, touched_at REAL NOT NULL, body TEXT NOT NULL, error TEXT) STRICT;
CREATE INDEX IF NOT EXISTS orders_by_customer ON orders (customer_id, created_at DESC);
CREATE INDEX IF NOT EXISTS orders_pending ON orders (touched_at) WHERE status = 'pending';
CREATE TABLE IF NOT EXISTS duties (
  order_id TEXT NOT NULL REFERENCES orders (id),
  kind TEXT NOT NULL CHECK (kind IN ('release_stock', 'void_payment', 'empty_cart')),
  attempts INTEGER NOT NULL DEFAULT 0, due_at REAL NOT NULL, last_error TEXT,
  PRIMARY KEY (order_id, kind)) STRICT;
"""


class Store:
    """One connection behind a lock; SQLite has a single writer anyhow."""

    def __init__(self, path: str):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.lock = threading.RLock()
        self.db = sqlite3.connect(path, timeout=2.0, check_same_thread=False, isolation_level=None)
        self.db.row_factory = sqlite3.Row
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self.db.execute(f"PRAGMA {pragma}")
        self.db.executescript(SCHEMA)

    @contextmanager
    def transaction(self):
        with self.lock:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield self.db
            except BaseException:
                self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")

    def ping(self) -> None:
        with self.lock:
            self.db.execute("SELECT count(*) FROM orders WHERE status = 'pending'").fetchone()

    def close(self) -> None:
        with self.lock:
            self.db.close()

    def claim(self, order: dict, key: str, request_hash: str, customer_id: str, cart_id: str) -> sqlite3.Row | None:
        """Begins an order under an idempotency key. Answers None, or the order that has the key already."""
        with self.transaction() as db:
            known = db.execute("SELECT * FROM orders WHERE idempotency_key = ?", (key,)).fetchone()
            if known:
                return known
            db.execute(
                "INSERT INTO orders VALUES (?, ?, ?, ?, ?, 'pending', ?, ?, ?, NULL)",
                (order["id"], key, request_hash, customer_id, cart_id, order["created_at"], time.time(), json.dumps(order)),
            )
            return None

    def drop_claim(self, order_id: str) -> None:
        """Forgets an order that has touched nothing outside, so that its key can be used again."""
        with self.transaction() as db:
            db.execute("DELETE FROM orders WHERE id = ? AND status = 'pending'", (order_id,))

    def confirm(self, order: dict) -> bool:
        """False when the order was given up meanwhile: then its compensations are already on the way."""
        with self.transaction() as db:
            changed = db.execute(
                "UPDATE orders SET status = 'confirmed', body = ?, touched_at = ? WHERE id = ? AND status = 'pending'",
                (json.dumps(order), time.time(), order["id"]),
            ).rowcount
            if changed:
                self._add_duty(db, order["id"], "empty_cart")
            return bool(changed)

    def fail(self, order_id: str, error: dict, duties: list[str]) -> None:
        with self.transaction() as db:
            changed = db.execute(
                "UPDATE orders SET status = 'failed', error = ?, touched_at = ? WHERE id = ? AND status = 'pending'",
                (json.dumps(error), time.time(), order_id),
            ).rowcount
            if changed:
                for kind in duties:
                    self._add_duty(db, order_id, kind)

    def add_duty(self, order_id: str, kind: str) -> None:
        with self.transaction() as db:
            self._add_duty(db, order_id, kind)

    @staticmethod
    def _add_duty(db: sqlite3.Connection, order_id: str, kind: str) -> None:
        db.execute("INSERT OR IGNORE INTO duties (order_id, kind, due_at) VALUES (?, ?, ?)", (order_id, kind, time.time()))

    def duties(self, order_id: str | None = None) -> list[sqlite3.Row]:
        """What is due now, or everything of one order."""
        select = "SELECT d.*, o.cart_id FROM duties d JOIN orders o ON o.id = d.order_id WHERE "
        with self.lock:
            if order_id:
                return self.db.execute(select + "d.order_id = ?", (order_id,)).fetchall()
            return self.db.execute(select + "d.due_at <= ? ORDER BY d.due_at LIMIT 50", (time.time(),)).fetchall()

    def duty_done(self, order_id: str, kind: str) -> None:
        with self.transaction() as db:
            db.execute("DELETE FROM duties WHERE order_id = ? AND kind = ?", (order_id, kind))

    def duty_failed(self, order_id: str, kind: str, attempts: int, error: str) -> None:
        delay_s = min(60.0, 2.0 ** min(attempts, 6))
        with self.transaction() as db:
            db.execute(
                "UPDATE duties SET attempts = ?, due_at = ?, last_error = ? WHERE order_id = ? AND kind = ?",
                (attempts, time.time() + delay_s, error, order_id, kind),
            )

    def abandoned(self, older_than_s: float) -> list[str]:
        with self.lock:
            rows = self.db.execute(
                "SELECT id FROM orders WHERE status = 'pending' AND touched_at < ?", (time.time() - older_than_s,)
            )
            return [row["id"] for row in rows]

    def order(self, order_id: str, customer_id: str) -> dict | None:
        with self.lock:
            row = self.db.execute(
                "SELECT * FROM orders WHERE id = ? AND customer_id = ? AND status = 'confirmed'", (order_id, customer_id)
            ).fetchone()
        return as_order(row) if row else None

    def orders_of(self, customer_id: str, limit: int) -> list[dict]:
        with self.lock:
            rows = self.db.execute(
                "SELECT * FROM orders WHERE customer_id = ? AND status = 'confirmed' ORDER BY created_at DESC LIMIT ?",
                (customer_id, limit),
            ).fetchall()
        return [as_order(row) for row in rows]


def as_order(row: sqlite3.Row) -> dict:
    return {**json.loads(row["body"]), "status": row["status"]}
