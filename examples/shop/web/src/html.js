// Templates that escape by default: html`<b>${anything}</b>`; only another html`…` goes in as it is.
class Markup {
  constructor (text) { this.text = text }
  toString () { return this.text }
}

const ESCAPES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
const escape = (value) => String(value).replace(/[&<>"']/g, (char) => ESCAPES[char])

function piece (value) {
  if (value === null || value === undefined || value === false || value === true) return ''
  if (Array.isArray(value)) return value.map(piece).join('')
  return value instanceof Markup ? value.text : escape(value)
}

export function html (strings, ...values) {
  return new Markup(strings.reduce((text, part, index) => text + piece(values[index - 1]) + part))
}

const euros = new Intl.NumberFormat('en-IE', { style: 'currency', currency: 'EUR' })
export const money = (cents) => euros.format(cents / 100)

const days = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'long', year: 'numeric', timeZone: 'UTC' })
export const day = (iso) => days.format(new Date(iso))

export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`
