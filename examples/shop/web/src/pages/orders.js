// An order, as a page to keep, and the list of them. Every order number is also a tune.
import { day, html, money, plural } from '../html.js'

const BRANDS = { visa: 'Visa', mastercard: 'Mastercard' }

export function paymentText (payment) {
  if (payment.status === 'paid') return `Paid with ${BRANDS[payment.brand] ?? 'card'} ending in ${payment.last4}`
  if (payment.reason === 'chosen') return 'Pay on delivery'
  return 'Pay on delivery: card payment is not available right now, and your card was not charged'
}

export function orderPage ({ order, fresh }) {
  const first = order.customer.name.split(' ')[0]
  return html`<article class="order" data-order-id="${order.id}" data-status="${order.status}" data-payment="${order.payment.status}" data-payment-method="${order.payment.method}" data-total-cents="${order.total_cents}">
  <header>${fresh ? html`<p class="kicker">Thank you, ${first}</p><h1>It is as good as yours.</h1>` : html`<p class="kicker">${day(order.created_at)}</p><h1>Your order</h1>`}
  <p class="lead">Order <b class="number">${order.id}</b>${fresh ? ' is on its way to our workshop.' : '.'}</p></header>
  ${tune(order.id)}
  <div class="two">
    <ul class="mini roomy">${order.items.map((item) => html`<li data-sku="${item.sku}" data-quantity="${item.quantity}"><img src="/images/${item.sku}.svg" alt="" width="72" height="72"><span><a href="/products/${item.sku}">${item.name}</a><small>${item.quantity} × ${money(item.unit_price_cents)}</small></span><b>${money(item.line_total_cents)}</b></li>`)}</ul>
    <aside class="summary" aria-label="Summary">
      <dl><div class="total"><dt>Total</dt><dd>${money(order.total_cents)}</dd></div></dl>
      <h2>Payment</h2><p>${paymentText(order.payment)}</p>
      <h2>Delivery</h2><p>${order.customer.name}<br>${order.customer.address}<br>${order.customer.postcode} ${order.customer.city}</p>
    </aside>
  </div>
  <p><a class="button" href="/">Back to the shop</a> <a class="quiet-link" href="/orders">All your orders</a></p>
</article>`
}

export function ordersPage ({ orders }) {
  if (!orders.length) {
    return html`<section class="empty"><h1>No orders yet.</h1><p class="lead">When you have ordered something on this device, it is kept here.</p><a class="button" href="/#all">Look around</a></section>`
  }
  return html`<h1>Your orders</h1><p class="quiet">As this browser remembers them.</p>
<ul class="history">${orders.map((order) => html`<li data-order-id="${order.id}"><a href="/orders/${order.id}">
  <span class="thumbs" aria-hidden="true">${order.items.slice(0, 4).map((item) => html`<img src="/images/${item.sku}.svg" alt="" width="64" height="64">`)}</span>
  <span><b class="number">${order.id}</b><small>${day(order.created_at)}, ${plural(order.items.reduce((sum, item) => sum + item.quantity, 0), 'thing')}</small></span>
  <span class="state ${order.payment.status}">${order.payment.status === 'paid' ? 'Paid' : 'Pay on delivery'}</span>
  <b class="price">${money(order.total_cents)}</b></a></li>`)}</ul>`
}

const STEPS = [0, 2, 4, 7, 9, 12, 14, 16] // semitones above C: whatever the number is, it sounds like a song

/** The characters of an order number as notes on a staff; the script plays them. */
function tune (id) {
  const notes = [...id.replace(/[^A-Z0-9]/g, '').slice(2)].map((char) => char.charCodeAt(0) % STEPS.length)
  const x = (index) => 92 + index * 58
  const y = (step) => 96 - step * 9
  return html`<figure class="tune" data-notes="${notes.map((step) => STEPS[step]).join(' ')}">
  <svg viewBox="0 0 560 130" role="img" aria-label="Your order number as ${notes.length} notes on a staff">
    ${[33, 51, 69, 87, 105].map((line) => html`<path class="staff" d="M8 ${line}h544"/>`)}
    <path class="clef" d="M34 112c-8 0-12-8-6-12s14 2 10 10c-4 6-12 4-12 4M36 104L30 38c-2-16 12-24 14-12 2 14-30 30-30 50 0 22 34 22 34 4 0-14-22-14-22 0"/>
    ${notes.map((step, index) => html`<g class="note"><ellipse cx="${x(index)}" cy="${y(step)}" rx="10.500" ry="8" transform="rotate(-18 ${x(index)} ${y(step)})"/><path d="${step < 4 ? `M${x(index) + 9} ${y(step) - 3}v-42` : `M${x(index) - 9} ${y(step) + 3}v42`}"/></g>`)}
  </svg>
  <figcaption>Every order number is a tune. This is yours. <button class="button small" type="button" data-play hidden>Play it</button></figcaption>
</figure>`
}
