// The checkout form. A card number that was typed is never sent back in a page.
import { html, money } from '../html.js'
import { alert, things } from './layout.js'

export function checkoutPage ({ cart, key, form, problem, fields }) {
  const field = (name, label, attributes, { keep = true } = {}) => html`<label class="field">${label}
    <input name="${name}" value="${keep ? form[name] ?? '' : ''}" ${attributes}${fields[name] ? html` aria-invalid="true" aria-describedby="${name}-problem"` : ''}>
    ${fields[name] ? html`<span class="field-problem" id="${name}-problem">${fields[name]}</span>` : ''}</label>`
  const onDelivery = form.payment === 'on_delivery'
  return html`<h1>Checkout</h1>
${alert(problem)}
<form method="post" action="/checkout" class="two checkout" novalidate data-once>
  <input type="hidden" name="key" value="${key}">
  <input type="hidden" name="expected_total_cents" value="${cart.total_cents}">
  <div class="fields">
    <fieldset><legend>Where should it go?</legend>
      ${field('name', 'Name', html`required autocomplete="name" maxlength="120"`)}
      ${field('email', 'E-mail', html`required type="email" autocomplete="email" maxlength="120"`)}
      ${field('address', 'Street and number', html`required autocomplete="street-address" maxlength="120"`)}
      <div class="pair">${field('postcode', 'Postcode', html`required autocomplete="postal-code" maxlength="12"`)}
      ${field('city', 'Town', html`required autocomplete="address-level2" maxlength="120"`)}</div>
    </fieldset>
    <fieldset class="paying"><legend>How would you like to pay?</legend>
      <div class="choices">
        <label class="choice"><input type="radio" name="payment" value="card"${onDelivery ? '' : html` checked`}><span>By card</span></label>
        <label class="choice"><input type="radio" name="payment" value="on_delivery"${onDelivery ? html` checked` : ''}><span>On delivery</span></label>
      </div>
      <div class="card-fields">
        ${field('card_number', 'Card number', html`inputmode="numeric" autocomplete="cc-number" placeholder="4242 4242 4242 4242" maxlength="23"`, { keep: false })}
        <div class="pair">${field('card_expiry', 'Expires', html`autocomplete="cc-exp" placeholder="09/28" maxlength="9"`)}
        ${field('card_cvc', 'Security code', html`inputmode="numeric" autocomplete="cc-csc" placeholder="123" maxlength="4"`, { keep: false })}</div>
        <details class="hint"><summary>This is a play shop. Which cards work?</summary>
          <ul><li><code>4242 4242 4242 4242</code> is accepted</li><li><code>4000 0000 0000 9995</code> has no money on it</li><li><code>4000 0000 0000 0119</code> finds the card processor asleep</li></ul>
          <p>Any date in the future and any code. Please never type a real card here.</p></details>
      </div>
    </fieldset>
  </div>
  <aside class="summary" aria-label="Your order">
    <ul class="mini">${cart.items.map((item) => html`<li><img src="${item.image}" alt="" width="56" height="56"><span>${item.name}<small>× ${item.quantity}</small></span><b>${money(item.line_total_cents)}</b></li>`)}</ul>
    <dl><div><dt>${things(cart.count)}</dt><dd>${money(cart.total_cents)}</dd></div><div><dt>Delivery</dt><dd>Free</dd></div><div class="total"><dt>Total</dt><dd>${money(cart.total_cents)}</dd></div></dl>
    <button class="button wide">Place the order</button>
  </aside>
</form>`
}
