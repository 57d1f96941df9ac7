import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, beforeEach, test } from 'node:test'
import { ApiError, buildApp } from '../src/app.js'
import { openStore } from '../src/store.js'

const folder = mkdtempSync(join(tmpdir(), 'cart-'))
const quiet = { info () {}, warn () {}, error () {} }
const goods = new Map([
  ['tin-whistle', { sku: 'tin-whistle', name: 'Tin Whistle', price_cents: 1400, stock: 60 }],
  ['toy-grand-piano', { sku: 'toy-grand-piano', name: 'Toy Grand Piano', price_cents: 18900, stock: 2 }]
])
let catalogUp
let seen
const catalog = {
  async product (sku, headers) {
    seen = headers
    if (!catalogUp) throw new ApiError(503, 'catalog_unavailable', 'down')
    if (!goods.has(sku)) throw new ApiError(404, 'unknown_product', 'no')
    return goods.get(sku)
  },
  async products (skus) {
    if (!catalogUp) throw new Error('down')
    return new Map(skus.filter((sku) => goods.has(sku)).map((sku) => [sku, goods.get(sku)]))
  }
}
const store = openStore(join(folder, 'cart.db'))
const app = buildApp({ store, catalog, log: quiet })
after(() => { store.close(); rmSync(folder, { recursive: true }) })
beforeEach(() => { catalogUp = true; store.clear('cart-0001') })

const call = async (method, url, payload, headers) => {
  const response = await app.inject({ method, url, payload, headers })
  return { status: response.statusCode, body: response.body ? response.json() : null, headers: response.headers }
}
const add = (sku, quantity) => call('POST', '/carts/cart-0001/items', { sku, quantity })

test('adds up, changes, removes', async () => {
  assert.equal((await add('tin-whistle', 2)).status, 201)
  const twice = await add('tin-whistle', 1)
  assert.deepEqual([twice.body.count, twice.body.total_cents], [3, 4200])
  const fewer = await call('PUT', '/carts/cart-0001/items/tin-whistle', { quantity: 1 })
  assert.equal(fewer.body.total_cents, 1400)
  const none = await call('PUT', '/carts/cart-0001/items/tin-whistle', { quantity: 0 })
  assert.deepEqual(none.body.items, [])
})

test('never holds more than there is', async () => {
  assert.equal((await add('toy-grand-piano', 2)).status, 201)
  const third = await add('toy-grand-piano', 1)
  assert.deepEqual([third.status, third.body.error.code, third.body.error.details.available], [409, 'not_enough_stock', 2])
  assert.equal((await call('GET', '/carts/cart-0001')).body.count, 2)
})

test('shows remembered prices when the catalog is down, but adds nothing', async () => {
  await add('tin-whistle', 2)
  catalogUp = false
  const cart = (await call('GET', '/carts/cart-0001')).body
  assert.deepEqual([cart.stale, cart.total_cents, cart.items[0].available], [true, 2800, null])
  assert.equal((await add('tin-whistle', 1)).body.error.code, 'catalog_unavailable')
})

test('refuses nonsense with a reason', async () => {
  for (const body of [{}, { sku: 'tin-whistle' }, { sku: 'tin-whistle', quantity: 0 }, { sku: '../x', quantity: 1 }, { sku: 'tin-whistle', quantity: 21 }]) {
    const { status, body: answer } = await call('POST', '/carts/cart-0001/items', body)
    assert.deepEqual([status, answer.error.code], [422, 'invalid_request'], JSON.stringify(body))
  }
  assert.equal((await add('tuba', 1)).body.error.code, 'unknown_product')
  assert.equal((await call('GET', '/carts/x')).status, 422)
  assert.equal((await call('GET', '/nowhere')).body.error.code, 'not_found')
})

test('hands the trace on', async () => {
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  const answer = await call('POST', '/carts/cart-0001/items', { sku: 'tin-whistle', quantity: 1 }, { traceparent, 'x-request-id': 'abc' })
  assert.deepEqual(seen, { 'x-request-id': 'abc', traceparent })
  assert.equal(answer.headers['x-request-id'], 'abc')
})
