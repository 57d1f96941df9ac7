// What a person sees when something is missing or a service behind the shop does not answer.
import { html } from '../html.js'

const WHAT = {
  catalog: { name: 'catalog', text: 'The catalog knows what we sell and how much of it is left. Without it the shelves stay dark.' },
  cart: { name: 'cart', text: 'What you put into your cart is kept safe; it just cannot be shown or changed right now.' },
  orders: { name: 'orders desk', text: 'Nothing was ordered and nothing was charged. Your cart is as you left it.' },
  reviews: { name: 'reviews', text: 'Your review was not saved this time. Everything else in the shop works.' }
}

const brokenString = html`<svg class="snapped" viewBox="0 0 320 150" role="img" aria-label="A snapped string">
  <path class="string" d="M10 30h300M10 60h300M10 120h300"/>
  <path class="torn" d="M10 90h92c22 0 30-34 12-36s-20 22-2 24M310 90h-88c-26 0-26 40-6 38s14-24-4-22"/>
  <circle cx="150" cy="92" r="5"/><circle cx="168" cy="74" r="3"/><circle cx="172" cy="104" r="3.500"/>
</svg>`

export function problem ({ service, message, requestId, retry }) {
  const what = WHAT[service]
  return html`<section class="empty" data-down="${service ?? ''}">
  ${brokenString}
  <h1>${service ? html`The ${what?.name ?? service} is out of tune.` : 'A string has snapped.'}</h1>
  <p class="lead">${what ? what.text : service ? `The service “${service}” does not answer.` : message ?? 'Something went wrong on our side.'}</p>
  ${service ? html`<p>The service <code>${service}</code> does not answer. Try again in a moment.</p>` : ''}
  <p><a class="button" href="${retry}">Try again</a> <a class="quiet-link" href="/">To the shop window</a></p>
  <p class="quiet">If you tell somebody about this, mention <code>${requestId}</code>.</p>
</section>`
}

export function notFound () {
  return html`<section class="empty">${brokenString}
  <h1>There is nothing on this shelf.</h1>
  <p class="lead">It may have been sold, or it was never more than a rumour.</p>
  <a class="button" href="/">To the shop window</a></section>`
}
