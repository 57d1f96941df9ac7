import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildApp } from '../src/app.js'
import { html } from '../src/html.js'
import { PeerDown } from '../src/peers.js'

const quiet = { info () {}, warn () {}, error () {} }
const whistle = { sku: 'tin-whistle', name: 'Tin <Whistle>', tagline: 't', description: 'd', category: 'winds', price_cents: 1400, stock: 5, image: '/images/tin-whistle.svg' }
const answers = {
  '/categories': { items: [{ slug: 'winds', name: 'Winds', blurb: 'b', products: 1 }] },
  '/products/tin-whistle': whistle,
  '/reviews?sku=tin-whistle': { average: 4.5, count: 2, items: [] }
}
const appWith = (down) => {
  const answer = (service, path) => {
    if (down.includes(service)) throw new PeerDown(service, 'down')
    if (path.startsWith('/products?')) return { items: [whistle], total: 1 }
    return answers[path] ?? null
  }
  const peers = {
    need: async (_, service, path) => answer(service, path),
    optional: async (_, service, path) => (down.includes(service) ? null : answer(service, path)),
    call: async (_, service, path) => ({ status: 200, body: answer(service, path) })
  }
  return buildApp({ peers, log: quiet })
}

test('templates escape everything but templates', () => {
  assert.equal(String(html`<b title="${'"'}">${'<i>'}${html`<u>`}${[1, '&']}${null}${false}${0}</b>`), '<b title="&quot;">&lt;i&gt;<u>1&amp;0</b>')
})

test('a page without reviews hides them', async () => {
  const whole = await (await appWith([])).inject('/products/tin-whistle')
  assert.equal(whole.statusCode, 200)
  assert.match(whole.body, /id="reviews"/)
  assert.match(whole.body, /Tin &lt;Whistle&gt;/)
  const without = await (await appWith(['reviews', 'cart'])).inject('/products/tin-whistle')
  assert.equal(without.statusCode, 200)
  assert.doesNotMatch(without.body, /id="reviews"/)
})

test('the page names the service that is down', async () => {
  const app = await appWith(['catalog'])
  const page = await app.inject('/')
  assert.deepEqual([page.statusCode, page.headers['retry-after']], [503, '5'])
  assert.match(page.body, /data-down="catalog"/)
  const json = await app.inject({ url: '/', headers: { accept: 'application/json' } })
  assert.equal(json.json().error.code, 'catalog_unavailable')
})

test('forms of other sites are refused, our own are not', async () => {
  const app = await appWith([])
  const post = (headers) => app.inject({ method: 'POST', url: '/cart/items', payload: 'sku=tin-whistle', headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers } })
  assert.equal((await post({ 'sec-fetch-site': 'cross-site' })).statusCode, 403)
  assert.equal((await post({ origin: 'https://evil.example', host: 'shop.example' })).statusCode, 403)
  assert.equal((await post({ origin: 'https://shop.example', host: '127.0.0.1:9', 'x-forwarded-host': 'shop.example' })).statusCode, 303)
  assert.equal((await post({ 'sec-fetch-site': 'same-origin' })).statusCode, 303)
})
