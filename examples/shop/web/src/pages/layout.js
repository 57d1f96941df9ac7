// The frame of every page: head, header, footer, and the small parts that pages share.
import { html, money, plural } from '../html.js'

/** The name, drawn from circles and strokes: the same shapes as the notes that it stands for. */
const wordmark = html`<svg class="wordmark" viewBox="0 0 252 76" role="img" aria-label="Piccolo" fill="none" stroke="currentColor" stroke-width="9" stroke-linecap="round">
  <circle cx="24" cy="40" r="16"/><path d="M8 40v31"/>
  <path d="M58 26v30"/><circle class="dot" cx="58" cy="10" r="6" stroke="none"/>
  <path d="M98 29.500a16 16 0 1 0 0 21"/><path d="M136 29.500a16 16 0 1 0 0 21"/>
  <circle cx="160" cy="40" r="16"/><path d="M192 6v50"/><circle cx="224" cy="40" r="16"/>
</svg>`

const icons = {
  search: html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><circle cx="11" cy="11" r="6.500"/><path d="M16 16l5 5"/></svg>`,
  cart: html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d="M5 9h14l-1.200 10.500a1.500 1.500 0 0 1-1.500 1.500H7.700a1.500 1.500 0 0 1-1.500-1.500z"/><path d="M8.500 9V7a3.500 3.500 0 0 1 7 0v2"/></svg>`
}

export function page ({ title, categories, count, path, q }, content) {
  const here = (href) => (path === href ? html` aria-current="page"` : '')
  const full = title ? `${title} · Piccolo` : 'Piccolo: small instruments for loud living rooms'
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="description" content="Small instruments for loud living rooms.">
<title>${full}</title>
<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/assets/shop.css">
<script src="/assets/shop.js" defer></script>
</head>
<body>
<a class="skip" href="#main">Skip to content</a>
<header class="top">
  <div class="bar">
    <a class="brand" href="/">${wordmark}</a>
    <form class="search" action="/search" role="search">
      <label class="hidden" for="q">Search the shop</label>
      ${icons.search}<input id="q" name="q" type="search" placeholder="Something that jingles" value="${q ?? ''}" maxlength="100">
    </form>
    <nav class="mine" aria-label="Yours">
      <a href="/orders"${here('/orders')}>Orders</a>
      <a class="cart-link" href="/cart"${here('/cart')}>${icons.cart}<span>Cart</span> <b class="badge" data-cart-count="${count ?? ''}"${count ? '' : html` hidden`}>${count ?? ''}</b></a>
    </nav>
  </div>
  ${categories.length ? html`<nav class="shelves" aria-label="Categories"><ul>
    ${categories.map((one) => html`<li><a class="tone-${one.slug}" href="/category/${one.slug}"${here(`/category/${one.slug}`)}>${one.name}</a></li>`)}
  </ul></nav>` : ''}
</header>
<main id="main" tabindex="-1">
${content}
</main>
<footer class="foot">
  <p><strong>Piccolo</strong> is the example shop of Tutti. Nothing ships and no money moves, but every page goes through real services in several languages.</p>
</footer>
<div class="toast" role="status" aria-live="polite" hidden></div>
</body>
</html>
`
}

export function stars (rating) {
  if (!rating?.count) return ''
  const share = Math.round(rating.average * 10) * 2
  return html`<span class="stars"><svg viewBox="0 0 100 20" role="img" aria-label="${rating.average} of 5 stars">${fiveStars('off')}<svg width="${share}" height="20" viewBox="0 0 ${share} 20">${fiveStars('on')}</svg></svg> <small>${rating.count}</small></span>`
}

const fiveStars = (kind) => [0, 20, 40, 60, 80].map((x) =>
  html`<path class="star-${kind}" transform="translate(${x})" d="M10 2l2.300 5 5.500.600-4.100 3.700 1.200 5.400L10 14l-4.900 2.700 1.200-5.400L2.200 7.600l5.500-.600z"/>`)

export function stockNote (stock) {
  if (stock === 0) return html`<span class="stock out">Back soon</span>`
  if (stock <= 3) return html`<span class="stock low">Only ${stock} left</span>`
  return ''
}

export function card (product, ratings, { eager = false } = {}) {
  return html`<li class="card" data-sku="${product.sku}">
  <a class="picture" href="/products/${product.sku}" tabindex="-1" aria-hidden="true"><img src="${product.image}" alt="" width="400" height="400"${eager ? '' : html` loading="lazy"`}></a>
  <div class="about">
    <h3><a href="/products/${product.sku}">${product.name}</a></h3>
    <p class="tagline">${product.tagline}</p>
    ${stars(ratings?.get(product.sku))}
  </div>
  <div class="buy">
    <span class="price" data-price-cents="${product.price_cents}">${money(product.price_cents)}</span>
    ${product.stock > 0 ? html`${stockNote(product.stock)}<form method="post" action="/cart/items" data-add>
      <input type="hidden" name="sku" value="${product.sku}"><input type="hidden" name="quantity" value="1">
      <button class="plus" aria-label="Add ${product.name} to the cart"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 5v14M5 12h14"/></svg></button>
    </form>` : stockNote(0)}
  </div>
</li>`
}

export const alert = (text, kind = 'bad') => (text ? html`<p class="alert ${kind}" role="${kind === 'bad' ? 'alert' : 'status'}">${text}</p>` : '')
export const things = (count) => plural(count, 'thing')
