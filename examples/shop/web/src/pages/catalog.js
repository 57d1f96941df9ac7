// The shop window, a shelf, and the results of a search.
import { html, plural } from '../html.js'
import { card } from './layout.js'

export const SORTS = { featured: 'As arranged', price: 'Price, low first', '-price': 'Price, high first', name: 'Name' }
const IN_THE_WINDOW = ['robin-ocarina', 'harbour-ukulele', 'tambourine', 'rainbow-glockenspiel']

export function home ({ products, ratings, categories, sort }) {
  const bySku = new Map(products.items.map((product) => [product.sku, product]))
  const shown = IN_THE_WINDOW.map((sku) => bySku.get(sku)).filter(Boolean)
  return html`<section class="hero">
  <div class="words">
    <h1>Small instruments for loud living rooms.</h1>
    <p>Things to strum, shake, strike and crank. All of them fit in a cupboard; none of them will stay there.</p>
    <a class="button" href="#all">See all ${products.total}</a>
  </div>
  <div class="window" aria-hidden="true">
    ${shown.map((product) => html`<a href="/products/${product.sku}" tabindex="-1"><img src="${product.image}" alt="" width="400" height="400"></a>`)}
  </div>
</section>
<section aria-labelledby="shelves-title">
  <h2 id="shelves-title" class="hidden">Shelves</h2>
  <ul class="tiles">
    ${categories.map((one) => html`<li><a class="tile tone-${one.slug}" href="/category/${one.slug}"><strong>${one.name}</strong><span>${one.blurb}</span></a></li>`)}
  </ul>
</section>
${shelf({ id: 'all', heading: html`<h2>Everything</h2>`, products, ratings, sort, action: '/', anchor: '#all' })}`
}

export function listing ({ title, kicker, blurb, tone, products, ratings, sort, action, q }) {
  const heading = html`<div>${kicker ? html`<p class="kicker">${kicker}</p>` : ''}<h1>${title}</h1>${blurb ? html`<p class="lead">${blurb}</p>` : ''}</div>`
  return html`<div class="${tone ? `banner tone-${tone}` : ''}">${tone ? heading : ''}</div>
${shelf({ heading: tone ? html`<p>${plural(products.total, 'instrument')}</p>` : heading, products, ratings, sort, action, q, eager: true })}`
}

function shelf ({ id, heading, products, ratings, sort, action, q, eager, anchor = '' }) {
  return html`<section class="shelf"${id ? html` id="${id}"` : ''}>
  <div class="shelf-head">${heading}
    ${products.items.length > 1 ? html`<form action="${action}${anchor}" class="sort" data-auto>
      ${q ? html`<input type="hidden" name="q" value="${q}">` : ''}
      <label>Sort <select name="sort">${Object.entries(SORTS).map(([value, label]) =>
        html`<option value="${value}"${value === sort ? html` selected` : ''}>${label}</option>`)}</select></label>
      <button class="button small">Go</button>
    </form>` : ''}
  </div>
  <ul class="grid">${products.items.map((product, index) => card(product, ratings, { eager: eager && index < 8 }))}</ul>
</section>`
}
