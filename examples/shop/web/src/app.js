// The server: hooks, security headers, assets, errors as pages. What a page shows is in pages/, what it does in routes.js.
import { createHash, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import cookie from '@fastify/cookie'
import formbody from '@fastify/formbody'
import Fastify from 'fastify'
import { html } from './html.js'
import { page } from './pages/layout.js'
import { notFound, problem } from './pages/problem.js'
import { PeerDown } from './peers.js'
import { routes } from './routes.js'
import { contextOf } from './telemetry.js'

const SHOPPER = 'piccolo_shopper'
const YEAR_S = 365 * 24 * 3600
const SECURITY = {
  'content-security-policy': "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  'referrer-policy': 'same-origin',
  'x-content-type-options': 'nosniff'
}

export async function buildApp ({ peers, log }) {
  const app = Fastify({
    logger: false,
    bodyLimit: 32 * 1024,
    requestTimeout: 10_000,
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    routerOptions: { ignoreTrailingSlash: true }
  })
  app.decorate('stopping', false)
  app.decorateRequest('context', null)
  app.decorateRequest('framed', null)
  await app.register(cookie)
  await app.register(formbody)
  observe(app, log)
  health(app)
  assets(app)
  const shop = shopOf(peers)
  errors(app, shop, log)
  routes(app, shop)
  return app
}

function observe (app, log) {
  app.addHook('onRequest', async (request, reply) => {
    request.context = contextOf(request.headers)
    reply.headers({ ...SECURITY, 'x-request-id': request.context.requestId })
    if (request.method === 'POST' && fromElsewhere(request)) {
      return reply.code(403).type('text/plain').send('This form was sent from another site.')
    }
  })
  app.addHook('onSend', async (request, reply) => {
    if (app.stopping) reply.header('connection', 'close')
  })
  app.addHook('onResponse', async (request, reply) => {
    const path = request.url.split('?', 1)[0]
    if ((path === '/healthz' || path === '/readyz') && reply.statusCode < 500) return
    log[reply.statusCode >= 500 ? 'error' : 'info']('request', {
      method: request.method,
      path,
      status: reply.statusCode,
      duration_ms: Math.round(reply.elapsedTime * 10) / 10,
      trace_id: request.context.traceId,
      request_id: request.context.requestId
    })
  })
}

/** Browsers say where a form comes from; a client that says nothing is no browser and has no cookies to abuse. */
function fromElsewhere (request) {
  const site = request.headers['sec-fetch-site']
  if (site) return site !== 'same-origin' && site !== 'none'
  const origin = request.headers.origin
  if (!origin || origin === 'null') return origin === 'null'
  const host = request.headers['x-forwarded-host'] ?? request.headers.host
  return !URL.canParse(origin) || new URL(origin).host !== host
}

function health (app) {
  app.get('/healthz', async () => ({ status: 'ok' }))
  // Not the services behind it: a page that says which of them is down is better than no page.
  app.get('/readyz', async (request, reply) => {
    if (!app.stopping) return { status: 'ready', checks: {} }
    return reply.code(503).send({ error: { code: 'unavailable', message: 'shutting down' } })
  })
}

function assets (app) {
  const types = { css: 'text/css', js: 'text/javascript', svg: 'image/svg+xml' }
  for (const file of ['shop.css', 'shop.js', 'icon.svg']) {
    const body = readFileSync(new URL(`../public/${file}`, import.meta.url))
    const etag = `"${createHash('sha256').update(body).digest('hex').slice(0, 16)}"`
    app.get(`/assets/${file}`, async (request, reply) => {
      reply.headers({ etag, 'cache-control': 'public, max-age=300' })
      if (request.headers['if-none-match'] === etag) return reply.code(304).send()
      return reply.type(`${types[file.split('.')[1]]}; charset=utf-8`).send(body)
    })
  }
}

/** What all pages need: who the shopper is, and the frame with categories and the number of things in the cart. */
function shopOf (peers) {
  let categories = []
  const shopper = (request) => {
    const id = request.cookies[SHOPPER]
    return /^[A-Za-z0-9_-]{8,64}$/.test(id ?? '') ? id : null
  }
  return {
    peers,
    shopper,
    welcome (request, reply) {
      const id = shopper(request) ?? randomUUID()
      const secure = request.headers['x-forwarded-proto'] === 'https'
      reply.setCookie(SHOPPER, id, { path: '/', httpOnly: true, sameSite: 'lax', maxAge: YEAR_S, secure })
      return id
    },
    /** Fetched once per page, but the last answer is kept: the frame stands when the catalog is down. */
    frame (request) {
      request.framed ??= this.askForFrame(request)
      return request.framed
    },
    async askForFrame (request) {
      const id = shopper(request)
      const [fresh, cart] = await Promise.all([
        peers.optional(request.context, 'catalog', '/categories', 1500),
        id ? peers.optional(request.context, 'cart', `/carts/${id}`, 2000) : null
      ])
      if (fresh) categories = fresh.items
      return { categories, count: cart?.count ?? (id ? null : 0) }
    },
    async render (request, reply, content, { status = 200, ...options } = {}) {
      const frame = await this.frame(request)
      const body = page({ ...frame, ...options, path: request.url.split('?', 1)[0] }, content)
      return reply.code(status).type('text/html; charset=utf-8').header('cache-control', 'no-store').send(String(body))
    }
  }
}

/** Where "try again" leads: after a form, to the page that it is on. */
function retryOf (request) {
  if (request.method === 'GET') return request.url
  const path = request.url.split('?', 1)[0]
  return path.startsWith('/cart') ? '/cart' : path.replace(/\/reviews$/, '')
}

function errors (app, shop, log) {
  const wantsJson = (request) => (request.headers.accept ?? '').includes('application/json')
  app.setErrorHandler(async (error, request, reply) => {
    const down = error instanceof PeerDown
    const status = down ? 503 : error.refused?.status ?? (error.statusCode >= 400 && error.statusCode < 500 ? error.statusCode : 500)
    if (status === 500) log.error('request failed', { error: error.message, request_id: request.context.requestId })
    if (down) reply.header('retry-after', '5')
    const code = down ? `${error.service}_unavailable` : error.refused?.body?.error?.code ?? 'internal'
    const message = down ? `${error.service} does not answer` : status === 500 ? 'something went wrong' : error.message
    if (wantsJson(request)) return reply.code(status).send({ error: { code, message } })
    const content = problem({ service: down ? error.service : null, message: status === 500 ? null : message, requestId: request.context.requestId, retry: retryOf(request) })
    return shop.render(request, reply, content, { status, title: down ? 'One moment' : 'That did not work' })
  })
  app.setNotFoundHandler(async (request, reply) => {
    if (wantsJson(request)) return reply.code(404).send({ error: { code: 'not_found', message: 'there is nothing at this path' } })
    return shop.render(request, reply, html`${notFound()}`, { status: 404, title: 'Not here' })
  })
}
