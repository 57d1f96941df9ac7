// What the pages do: read the form, ask the services, show or redirect.
import { randomUUID } from 'node:crypto'
import { money } from './html.js'
import { cartPage } from './pages/cart.js'
import { home, listing, SORTS } from './pages/catalog.js'
import { checkoutPage } from './pages/checkout.js'
import { orderPage, ordersPage } from './pages/orders.js'
import { notFound } from './pages/problem.js'
import { productPage } from './pages/product.js'
import { blamed, PeerDown } from './peers.js'

const text = (value, most = 120) => (typeof value === 'string' ? value.trim().slice(0, most) : '')
const quantityOf = (value) => {
  const quantity = Number.parseInt(text(value), 10)
  return Number.isInteger(quantity) && quantity >= 0 && quantity <= 99 ? quantity : null
}
const wantsJson = (request) => (request.headers.accept ?? '').includes('application/json')

export function routes (app, shop) {
  browsing(app, shop)
  pictures(app, shop)
  cart(app, shop)
  checkout(app, shop)
  orders(app, shop)
}

function browsing (app, shop) {
  const { peers } = shop
  const ratingsOf = async (context) => {
    const ratings = await peers.optional(context, 'reviews', '/ratings', 800)
    return new Map((ratings?.items ?? []).map((rating) => [rating.sku, rating]))
  }
  const list = async (context, query) => Promise.all([
    peers.need(context, 'catalog', `/products?${new URLSearchParams(query)}`),
    ratingsOf(context)
  ])
  const sortOf = (request) => (Object.hasOwn(SORTS, request.query.sort ?? '') ? request.query.sort : 'featured')

  app.get('/', async (request, reply) => {
    const sort = sortOf(request)
    const [products, ratings] = await list(request.context, { sort })
    const { categories } = await shop.frame(request)
    return shop.render(request, reply, home({ products, ratings, categories, sort }), { title: null })
  })

  app.get('/category/:slug', async (request, reply) => {
    const sort = sortOf(request)
    const category = text(request.params.slug, 64)
    const [[products, ratings], { categories }] = await Promise.all([list(request.context, { category, sort }), shop.frame(request)])
    const known = categories.find((one) => one.slug === category)
    if (!known) return shop.render(request, reply, notFound(), { status: 404, title: 'Not here' })
    const content = listing({ title: known.name, blurb: known.blurb, tone: known.slug, products, ratings, sort, action: `/category/${known.slug}` })
    return shop.render(request, reply, content, { title: known.name })
  })

  app.get('/search', async (request, reply) => {
    const q = text(request.query.q, 100)
    const sort = sortOf(request)
    if (!q) return reply.redirect('/', 303)
    const [products, ratings] = await list(request.context, { q, sort })
    const blurb = products.total ? null : 'Nothing by that name. Try a smaller word, or look through the shelves.'
    const content = listing({ title: `“${q}”`, kicker: 'Search', blurb, products, ratings, sort, action: '/search', q })
    return shop.render(request, reply, content, { title: `Search: ${q}`, q })
  })

  app.get('/products/:sku', async (request, reply) => showProduct(shop, request, reply))

  app.post('/products/:sku/reviews', async (request, reply) => {
    const id = shop.welcome(request, reply)
    const sku = text(request.params.sku, 64)
    const form = request.body ?? {}
    const body = { sku, author_id: id, author: text(form.author, 60), rating: quantityOf(form.rating), title: text(form.title, 100), text: text(form.text, 2000) }
    const answer = await peers.call(request.context, 'reviews', '/reviews', { method: 'POST', body })
    if (answer.status >= 500) throw new PeerDown('reviews', `answered ${answer.status}`)
    if (answer.status >= 400) {
      const problem = answer.body?.error?.message ?? 'That review could not be saved.'
      return showProduct(shop, request, reply, { status: 422, reviewProblem: problem, draft: body })
    }
    return reply.redirect(`/products/${encodeURIComponent(sku)}?reviewed=1#reviews`, 303)
  })
}

async function showProduct (shop, request, reply, { status = 200, notice, problem, reviewProblem, draft } = {}) {
  const { peers } = shop
  const sku = encodeURIComponent(text(request.params.sku ?? request.body?.sku, 64))
  const product = await peers.need(request.context, 'catalog', `/products/${sku}`)
  if (!product) return shop.render(request, reply, notFound(), { status: 404, title: 'Not here' })
  const [reviews, more, { categories }] = await Promise.all([
    peers.optional(request.context, 'reviews', `/reviews?sku=${sku}`, 800),
    peers.need(request.context, 'catalog', `/products?${new URLSearchParams({ category: product.category })}`),
    shop.frame(request)
  ])
  const others = more.items.filter((one) => one.sku !== product.sku).slice(0, 4)
  const category = categories.find((one) => one.slug === product.category)
  const added = quantityOf(request.query?.added)
  const thanks = request.query?.reviewed ? 'Thank you. Your review is below.' : null
  const content = productPage({ product, category, reviews, others, added, notice: notice ?? thanks, problem, reviewProblem, draft })
  return shop.render(request, reply, content, { status, title: product.name })
}

function pictures (app, shop) {
  const kept = new Map()
  app.get('/images/:file', async (request, reply) => {
    const { file } = request.params
    if (!/^[a-z0-9-]{1,64}\.svg$/.test(file)) return reply.callNotFound()
    if (!kept.has(file)) {
      const answer = await shop.peers.call(request.context, 'catalog', `/images/${file}`, { headers: { accept: 'image/svg+xml' } })
      if (answer.status !== 200) return reply.callNotFound()
      // Bounded: only pictures of the catalog get here, and a changed one needs a new release of it anyway.
      if (kept.size < 500) kept.set(file, answer.text)
      return reply.header('cache-control', 'public, max-age=3600').type('image/svg+xml').send(answer.text)
    }
    return reply.header('cache-control', 'public, max-age=3600').type('image/svg+xml').send(kept.get(file))
  })
}

function cart (app, shop) {
  const { peers } = shop
  const show = async (request, reply, { status = 200, problem } = {}) => {
    const id = shop.shopper(request)
    const found = id ? await peers.need(request.context, 'cart', `/carts/${id}`) : null
    return shop.render(request, reply, cartPage({ cart: found, problem }), { status, title: 'Your cart' })
  }

  app.get('/cart', (request, reply) => show(request, reply))

  app.post('/cart/items', async (request, reply) => {
    const id = shop.welcome(request, reply)
    const sku = text(request.body?.sku, 64)
    const quantity = quantityOf(request.body?.quantity ?? '1') ?? 1
    const answer = await peers.call(request.context, 'cart', `/carts/${id}/items`, { method: 'POST', body: { sku, quantity } })
    if (answer.status >= 500) throw new PeerDown(blamed(answer, 'cart'), `answered ${answer.status}`)
    const problem = answer.status >= 400 ? answer.body?.error?.message ?? 'That could not be added.' : null
    if (wantsJson(request)) {
      const body = problem ? { error: { code: answer.body?.error?.code, message: problem } } : { count: answer.body.count, total_cents: answer.body.total_cents }
      return reply.code(answer.status).send(body)
    }
    if (problem) return showProduct(shop, request, reply, { status: answer.status, problem: sentence(problem) })
    return reply.redirect(`/products/${encodeURIComponent(sku)}?added=${quantity}`, 303)
  })

  app.post('/cart/items/:sku', async (request, reply) => {
    const id = shop.welcome(request, reply)
    const quantity = quantityOf(request.body?.quantity)
    if (quantity === null) return show(request, reply, { status: 422, problem: 'A quantity is a number from 0 to 20.' })
    const path = `/carts/${id}/items/${encodeURIComponent(text(request.params.sku, 64))}`
    const answer = await peers.call(request.context, 'cart', path, { method: 'PUT', body: { quantity } })
    if (answer.status >= 500) throw new PeerDown(blamed(answer, 'cart'), `answered ${answer.status}`)
    if (answer.status >= 400) return show(request, reply, { status: answer.status, problem: sentence(answer.body?.error?.message ?? 'That did not work.') })
    return reply.redirect('/cart', 303)
  })
}

function checkout (app, shop) {
  const { peers } = shop
  const show = async (request, reply, { status = 200, form = {}, problem, fields = {} } = {}) => {
    const id = shop.shopper(request)
    const found = id ? await peers.need(request.context, 'cart', `/carts/${id}`) : null
    if (!found?.items.length) return reply.redirect('/cart', 303)
    const content = checkoutPage({ cart: found, key: randomUUID(), form, problem, fields })
    return shop.render(request, reply, content, { status, title: 'Checkout' })
  }

  app.get('/checkout', (request, reply) => show(request, reply))

  app.post('/checkout', async (request, reply) => {
    const id = shop.shopper(request)
    if (!id) return reply.redirect('/cart', 303)
    const form = request.body ?? {}
    const { body, fields } = checkoutBody(id, form)
    if (Object.keys(fields).length) return show(request, reply, { status: 422, form, fields, problem: 'Some fields need another look.' })
    const key = /^[A-Za-z0-9_-]{8,64}$/.test(form.key ?? '') ? form.key : randomUUID()
    // Longer than the time limits inside of a checkout, so that its outcome reaches the page.
    const answer = await peers.call(request.context, 'orders', '/orders', { method: 'POST', body, headers: { 'idempotency-key': key }, timeoutMs: 20_000 })
    if (answer.status < 300) return reply.redirect(`/orders/${encodeURIComponent(answer.body.id)}?new=1`, 303)
    if (answer.status >= 500) throw new PeerDown(blamed(answer, 'orders'), `answered ${answer.status}`)
    return show(request, reply, { status: answer.status, form, ...refusal(answer) })
  })
}

/** The form as the orders service wants it, and what is wrong with it in the shopper's words. */
function checkoutBody (id, form) {
  const fields = {}
  const need = (name, message, good = (value) => value !== '') => {
    const value = text(form[name])
    if (!good(value)) fields[name] = message
    return value
  }
  const customer = {
    name: need('name', 'Please tell us your name.'),
    email: need('email', 'That does not look like an e-mail address.', (value) => /^[^@\s]+@[^@\s]+\.[^@\s]+$/.test(value)),
    address: need('address', 'Where should it go?'),
    postcode: need('postcode', 'A postcode, please.', (value) => value.length >= 2 && value.length <= 12),
    city: need('city', 'Which town?')
  }
  const payment = { method: form.payment === 'on_delivery' ? 'on_delivery' : 'card' }
  if (payment.method === 'card') {
    const number = need('card_number', 'A card number has 12 to 19 digits.', (value) => /^[0-9]{12,19}$/.test(value.replace(/[ -]/g, '')))
    const expiry = need('card_expiry', 'Month and year, like 09/28.', (value) => /^(0?[1-9]|1[0-2])\s*\/\s*(20)?[0-9]{2}$/.test(value))
    const cvc = need('card_cvc', 'Three or four digits.', (value) => /^[0-9]{3,4}$/.test(value))
    const [month, year] = expiry.split('/').map((part) => Number(part.trim()))
    payment.card = { number: number.replace(/[ -]/g, ''), exp_month: month, exp_year: year < 100 ? 2000 + year : year, cvc }
  }
  const expected = Number.parseInt(form.expected_total_cents, 10)
  const body = { cart_id: id, customer_id: id, customer, payment }
  if (Number.isInteger(expected) && expected >= 0) body.expected_total_cents = expected
  return { body, fields }
}

function refusal ({ body }) {
  const { code, message, details } = body?.error ?? {}
  switch (code) {
    case 'card_declined':
    case 'card_invalid':
      return { problem: `Your card was refused: ${message}. Nothing was charged. Try another card, or pay on delivery.`, fields: { card_number: sentence(message) } }
    case 'out_of_stock':
      return { problem: `Someone was quicker. ${(details?.items ?? []).map((item) => `${item.name}: ${item.available} left`).join('; ')}. Please change your cart.` }
    case 'price_changed':
      return { problem: `A price has changed since you looked: the total is now ${money(details.total_cents)}. Please check it and order again.` }
    default:
      return { problem: sentence(message ?? 'The order was not accepted.') }
  }
}

function orders (app, shop) {
  const { peers } = shop
  app.get('/orders', async (request, reply) => {
    const id = shop.shopper(request)
    const found = id ? await peers.need(request.context, 'orders', `/orders?customer_id=${id}`) : { items: [] }
    return shop.render(request, reply, ordersPage({ orders: found.items }), { title: 'Your orders' })
  })

  app.get('/orders/:id', async (request, reply) => {
    const id = shop.shopper(request)
    const path = `/orders/${encodeURIComponent(text(request.params.id, 64))}?customer_id=${id}`
    const order = id ? await peers.need(request.context, 'orders', path) : null
    if (!order) return shop.render(request, reply, notFound(), { status: 404, title: 'Not here' })
    return shop.render(request, reply, orderPage({ order, fresh: request.query.new === '1' }), { title: `Order ${order.id}` })
  })
}

const sentence = (message) => message.charAt(0).toUpperCase() + message.slice(1) + (/[.!?]$/.test(message) ? '' : '.')
