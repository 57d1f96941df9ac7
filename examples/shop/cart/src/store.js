// Carts in one SQLite file. The driver is synchronous; every statement here touches a handful of rows.
import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import Database from 'libsql'

const SCHEMA = `
CREATE TABLE IF NOT EXISTS items (
  cart TEXT NOT NULL, sku TEXT NOT NULL, name TEXT NOT NULL, unit_price_cents INTEGER NOT NULL,
  quantity INTEGER NOT NULL CHECK (quantity > 0), added_at INTEGER NOT NULL,
  PRIMARY KEY (cart, sku)) STRICT, WITHOUT ROWID;
`

export function openStore (path) {
  mkdirSync(dirname(path), { recursive: true })
  const db = new Database(path)
  db.exec('PRAGMA busy_timeout = 2000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;')
  db.exec(SCHEMA)
  const items = db.prepare('SELECT sku, name, unit_price_cents, quantity FROM items WHERE cart = ? ORDER BY added_at, sku')
  const one = db.prepare('SELECT quantity FROM items WHERE cart = ? AND sku = ?')
  // The limit is checked in the statement itself: two clicks at once, or two replicas on one file, cannot pass it.
  const add = db.prepare(`
    INSERT INTO items (cart, sku, name, unit_price_cents, quantity, added_at) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (cart, sku) DO UPDATE SET quantity = quantity + excluded.quantity, name = excluded.name,
      unit_price_cents = excluded.unit_price_cents
    WHERE items.quantity + excluded.quantity <= ?`)
  const set = db.prepare('UPDATE items SET quantity = ?, name = ?, unit_price_cents = ? WHERE cart = ? AND sku = ?')
  const remove = db.prepare('DELETE FROM items WHERE cart = ? AND sku = ?')
  const clear = db.prepare('DELETE FROM items WHERE cart = ?')
  const ping = db.prepare('SELECT 1 AS one')

  return {
    items: (cart) => items.all(cart),
    has: (cart, sku) => one.get(cart, sku) !== undefined,
    add (cart, product, quantity, limit) {
      const inCart = () => one.get(cart, product.sku)?.quantity ?? 0
      if (quantity > limit) return { ok: false, limit, inCart: inCart() }
      const { changes } = add.run(cart, product.sku, product.name, product.price_cents, quantity, Date.now(), limit)
      return changes > 0 ? { ok: true } : { ok: false, limit, inCart: inCart() }
    },
    set: (cart, product, quantity) => set.run(quantity, product.name, product.price_cents, cart, product.sku),
    remove: (cart, sku) => remove.run(cart, sku),
    clear: (cart) => clear.run(cart),
    ping: () => ping.get(),
    close: () => db.close()
  }
}
