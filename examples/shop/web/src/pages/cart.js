// The cart: what is in it, how many, what it comes to.
import { html, money } from '../html.js'
import { alert, things } from './layout.js'

export function cartPage ({ cart, problem }) {
  if (!cart?.items.length) {
    return html`<section class="empty">${alert(problem)}
  <h1>Your cart is quiet.</h1>
  <p class="lead">Nothing in it yet, not even a tambourine.</p>
  <a class="button" href="/#all">Look around</a></section>`
  }
  const short = cart.items.some((item) => item.available !== null && item.available < item.quantity)
  return html`<h1>Your cart</h1>
${alert(problem)}
${cart.stale ? alert('The catalog is not answering just now, so these are the prices from when you put things in. Checkout has to wait until it is back.') : ''}
<div class="two">
  <ul class="lines" data-cart-total-cents="${cart.total_cents}">${cart.items.map(line)}</ul>
  <aside class="summary" aria-label="Summary">
    <dl><div><dt>${things(cart.count)}</dt><dd>${money(cart.total_cents)}</dd></div><div><dt>Delivery</dt><dd>Free</dd></div><div class="total"><dt>Total</dt><dd data-total>${money(cart.total_cents)}</dd></div></dl>
    ${cart.stale || short ? html`<span class="button wide off" aria-disabled="true">Checkout</span>` : html`<a class="button wide" href="/checkout">Checkout</a>`}
    <a class="quiet-link" href="/#all">Keep looking</a>
  </aside>
</div>`
}

function line (item) {
  const short = item.available !== null && item.available < item.quantity
  const action = `/cart/items/${item.sku}`
  return html`<li class="line" data-sku="${item.sku}" data-quantity="${item.quantity}" data-line-cents="${item.line_total_cents}">
  <a href="/products/${item.sku}" tabindex="-1" aria-hidden="true"><img src="${item.image}" alt="" width="96" height="96"></a>
  <div class="what">
    <h2><a href="/products/${item.sku}">${item.name}</a></h2>
    <p class="quiet">${money(item.unit_price_cents)} each</p>
    ${short ? html`<p class="stock low">${item.available === 0 ? 'Sold out meanwhile' : `Only ${item.available} left`}</p>` : ''}
  </div>
  <form class="stepper" method="post" action="${action}" aria-label="Quantity of ${item.name}">
    <button name="quantity" value="${item.quantity - 1}" aria-label="One fewer">−</button>
    <output aria-label="Quantity">${item.quantity}</output>
    <button name="quantity" value="${item.quantity + 1}" aria-label="One more"${item.available !== null && item.quantity >= item.available ? html` disabled` : ''}>+</button>
  </form>
  <p class="price">${money(item.line_total_cents)}</p>
  <form class="remove" method="post" action="${action}"><input type="hidden" name="quantity" value="0"><button aria-label="Remove ${item.name}">Remove</button></form>
</li>`
}
