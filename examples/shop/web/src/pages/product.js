// One product: the picture, the words, the button, what others think, and its neighbours on the shelf.
import { day, html, money, plural } from '../html.js'
import { alert, card, stars, stockNote } from './layout.js'

export function productPage ({ product, category, reviews, others, added, notice, problem, reviewProblem, draft }) {
  const most = Math.min(10, product.stock)
  return html`<nav class="crumbs" aria-label="Where you are"><a href="/">Shop</a> ${category ? html`<span aria-hidden="true">/</span> <a href="/category/${category.slug}">${category.name}</a>` : ''}</nav>
${added ? html`<p class="alert good" role="status">${added === 1 ? 'It is' : `${added} are`} in your cart. <a href="/cart">Go to the cart</a></p>` : ''}
${alert(notice, 'good')}${alert(problem)}
<article class="product" data-sku="${product.sku}">
  <img class="portrait" src="${product.image}" alt="Drawing of: ${product.name}" width="400" height="400">
  <div class="facts">
    <h1>${product.name}</h1>
    <p class="lead">${product.tagline}</p>
    ${reviews?.count ? html`<p><a class="quiet-link" href="#reviews">${stars(reviews)} ${plural(reviews.count, 'review')}</a></p>` : ''}
    <p class="description">${product.description}</p>
    <p class="price big" data-price-cents="${product.price_cents}">${money(product.price_cents)} ${stockNote(product.stock)}</p>
    ${product.stock > 0 ? html`<form class="add" method="post" action="/cart/items" data-add>
      <input type="hidden" name="sku" value="${product.sku}">
      <label>How many <select name="quantity">${Array.from({ length: most }, (_, index) => html`<option>${index + 1}</option>`)}</select></label>
      <button class="button">Add to cart</button>
    </form>` : html`<p class="alert">This one is being built again. Come back soon.</p>`}
    <p class="quiet" data-stock="${product.stock}">${product.stock > 3 ? `${product.stock} in stock. ` : ''}Free delivery, wrapped in sheet music.</p>
  </div>
</article>
${reviews ? reviewsOf({ product, reviews, problem: reviewProblem, draft }) : ''}
${others.length ? html`<section class="shelf"><div class="shelf-head"><h2>More from this shelf</h2></div><ul class="grid four">${others.map((one) => card(one))}</ul></section>` : ''}`
}

function reviewsOf ({ product, reviews, problem, draft }) {
  return html`<section class="reviews" id="reviews">
  <div class="shelf-head"><h2>What people say</h2>${reviews.count ? html`<p class="average"><b>${reviews.average.toFixed(1)}</b> of 5</p>` : ''}</div>
  <div class="review-columns">
  ${reviews.items.length ? html`<ul class="review-list">${reviews.items.map((one) => html`<li>
    ${stars({ average: one.rating, count: ' ' })}
    ${one.title ? html`<h3>${one.title}</h3>` : ''}
    <p>${one.text}</p>
    <p class="quiet">${one.author}, ${day(one.created_at)}</p></li>`)}</ul>` : html`<p class="lead">Nobody has written about it yet. You could be the first.</p>`}
  <details class="write"${problem || !reviews.items.length ? html` open` : ''}>
    <summary>Write a review</summary>
    ${alert(problem)}
    <form method="post" action="/products/${product.sku}/reviews#reviews" class="fields">
      <fieldset class="rate"><legend>Your rating</legend>${[1, 2, 3, 4, 5].map((n) =>
        html`<label><input type="radio" name="rating" value="${n}" required${(draft?.rating ?? 5) === n ? html` checked` : ''}><span>${n}</span></label>`)}</fieldset>
      <label>Your name <input name="author" required maxlength="60" autocomplete="given-name" value="${draft?.author ?? ''}"></label>
      <label>In a few words <input name="title" maxlength="100" value="${draft?.title ?? ''}"></label>
      <label>What is it like? <textarea name="text" required maxlength="2000" rows="4">${draft?.text ?? ''}</textarea></label>
      <button class="button">Send it</button>
    </form>
  </details>
  </div>
</section>`
}
