// The HTTP face of the cart: shapes, checks, errors. Storage is in store.js, the catalog behind catalog.js.
import Fastify from 'fastify'
import { carry, contextOf } from './telemetry.js'

export const MAX_QUANTITY = 20
const ID = { type: 'string', pattern: '^[A-Za-z0-9_-]{8,64}$' }
const SKU = { type: 'string', pattern: '^[a-z0-9-]{1,64}$' }
const cartParams = { type: 'object', properties: { id: ID }, required: ['id'] }
const itemParams = { type: 'object', properties: { id: ID, sku: SKU }, required: ['id', 'sku'] }

export class ApiError extends Error {
  constructor (statusCode, code, message, details) {
    super(message)
    this.statusCode = statusCode
    this.apiCode = code
    this.details = details
  }
}

export function buildApp ({ store, catalog, log }) {
  const app = Fastify({
    logger: false,
    bodyLimit: 16 * 1024,
    requestTimeout: 5000,
    // Our own hooks drain: requests that are already here are answered, with "Connection: close".
    return503OnClosing: false,
    forceCloseConnections: 'idle'
  })
  app.decorate('stopping', false)
  observe(app, log)
  shapeErrors(app, log)
  health(app, store)
  carts(app, store, catalog, log)
  return app
}

function observe (app, log) {
  app.addHook('onRequest', async (request, reply) => {
    request.context = contextOf(request.headers)
    reply.header('x-request-id', request.context.requestId)
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

function shapeErrors (app, log) {
  app.setErrorHandler((error, request, reply) => {
    if (error instanceof ApiError) {
      return reply.code(error.statusCode).send({ error: { code: error.apiCode, message: error.message, details: error.details } })
    }
    if (error.validation) return reply.code(422).send({ error: { code: 'invalid_request', message: error.message } })
    const status = error.statusCode >= 400 && error.statusCode < 500 ? error.statusCode : 500
    if (status === 500) log.error('request failed', { error: error.message, request_id: request.context?.requestId })
    const message = status === 500 ? 'something went wrong in the cart' : error.message
    return reply.code(status).send({ error: { code: status === 500 ? 'internal' : 'malformed_request', message } })
  })
  app.setNotFoundHandler((request, reply) =>
    reply.code(404).send({ error: { code: 'not_found', message: 'there is nothing at this path' } }))
}

function health (app, store) {
  app.get('/healthz', async () => ({ status: 'ok' }))
  app.get('/readyz', async () => {
    if (app.stopping) throw new ApiError(503, 'unavailable', 'shutting down')
    store.ping()
    return { status: 'ready', checks: { database: 'ok' } }
  })
}

function carts (app, store, catalog, log) {
  const bodyOf = (minimum, required) => ({
    type: 'object',
    required,
    additionalProperties: false,
    properties: { sku: SKU, quantity: { type: 'integer', minimum, maximum: MAX_QUANTITY } }
  })

  app.get('/carts/:id', { schema: { params: cartParams } }, async (request) =>
    priced(store.items(request.params.id), request, catalog, log))

  app.post('/carts/:id/items', { schema: { params: cartParams, body: bodyOf(1, ['sku', 'quantity']) } }, async (request, reply) => {
    const { id } = request.params
    const { sku, quantity } = request.body
    const product = await catalog.product(sku, carry(request.context))
    const outcome = store.add(id, product, quantity, Math.min(MAX_QUANTITY, product.stock))
    if (!outcome.ok) {
      throw new ApiError(409, 'not_enough_stock', `only ${outcome.limit} of '${product.name}' can be in a cart right now`,
        { sku, available: outcome.limit, in_cart: outcome.inCart })
    }
    reply.code(201)
    return priced(store.items(id), request, catalog, log)
  })

  app.put('/carts/:id/items/:sku', { schema: { params: itemParams, body: bodyOf(0, ['quantity']) } }, async (request) => {
    const { id, sku } = request.params
    if (!store.has(id, sku)) throw new ApiError(404, 'not_found', `'${sku}' is not in this cart`)
    const { quantity } = request.body
    if (quantity === 0) {
      store.remove(id, sku)
    } else {
      const product = await catalog.product(sku, carry(request.context))
      if (quantity > product.stock) {
        throw new ApiError(409, 'not_enough_stock', `only ${product.stock} of '${product.name}' are in stock`, { sku, available: product.stock })
      }
      store.set(id, product, quantity)
    }
    return priced(store.items(id), request, catalog, log)
  })

  app.delete('/carts/:id/items/:sku', { schema: { params: itemParams } }, async (request, reply) => {
    store.remove(request.params.id, request.params.sku)
    return reply.code(204).send()
  })

  app.delete('/carts/:id', { schema: { params: cartParams } }, async (request, reply) => {
    store.clear(request.params.id)
    return reply.code(204).send()
  })
}

/**
 * The cart with today's names, prices and stock. When the catalog does not answer, the ones of the moment when
 * the thing was put in, marked `stale`: a cart that can be looked at beats an error page.
 */
async function priced (lines, request, catalog, log) {
  let fresh = new Map()
  let stale = false
  if (lines.length > 0) {
    try {
      fresh = await catalog.products(lines.map((line) => line.sku), carry(request.context))
    } catch (error) {
      stale = true
      log.warn('catalog did not answer, showing remembered prices', {
        error: error.message, trace_id: request.context.traceId, request_id: request.context.requestId
      })
    }
  }
  const items = lines.map((line) => {
    const product = fresh.get(line.sku)
    const unit = product ? product.price_cents : line.unit_price_cents
    return {
      sku: line.sku,
      name: product ? product.name : line.name,
      image: `/images/${line.sku}.svg`,
      quantity: line.quantity,
      unit_price_cents: unit,
      line_total_cents: unit * line.quantity,
      available: stale ? null : product ? product.stock : 0
    }
  })
  return {
    id: request.params.id,
    items,
    count: items.reduce((sum, item) => sum + item.quantity, 0),
    total_cents: items.reduce((sum, item) => sum + item.line_total_cents, 0),
    currency: 'EUR',
    stale
  }
}
