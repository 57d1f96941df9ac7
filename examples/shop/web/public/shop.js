// Small comforts. Every page works without this file.
document.documentElement.classList.add('js')

const toast = document.querySelector('.toast')
let hide
function say (text, bad) {
  toast.textContent = text
  toast.classList.toggle('bad', Boolean(bad))
  if (!bad) {
    const link = document.createElement('a')
    link.href = '/cart'
    link.textContent = 'See the cart'
    toast.append(link)
  }
  toast.hidden = false
  clearTimeout(hide)
  hide = setTimeout(() => { toast.hidden = true }, 4000)
}

// Adding to the cart without leaving the page.
document.addEventListener('submit', async (event) => {
  const form = event.target
  if (!form.matches('[data-add]')) return
  event.preventDefault()
  const button = form.querySelector('button')
  button.disabled = true
  try {
    const response = await fetch(form.action, { method: 'POST', body: new URLSearchParams(new FormData(form)), headers: { accept: 'application/json' } })
    const answer = await response.json()
    if (!response.ok) throw new Error(answer.error.message)
    const badge = document.querySelector('[data-cart-count]')
    badge.textContent = badge.dataset.cartCount = answer.count
    badge.hidden = false
    badge.classList.remove('bump')
    requestAnimationFrame(() => badge.classList.add('bump'))
    say('In your cart.')
  } catch (error) {
    say(error.message || 'That did not work. Please try again.', true)
  } finally {
    button.disabled = false
  }
})

// A choice that changes the page does so at once.
document.addEventListener('change', (event) => event.target.closest('[data-auto]')?.requestSubmit())

// One click orders once. The server would not order twice either; this saves the wondering.
for (const form of document.querySelectorAll('[data-once]')) {
  form.addEventListener('submit', () => {
    const button = form.querySelector('button.wide')
    button.textContent = 'One moment'
    button.classList.add('off')
    form.addEventListener('submit', (again) => again.preventDefault())
  })
}
addEventListener('pageshow', (event) => { if (event.persisted) location.reload() })

// The tune of an order: plucked notes, one after the other.
for (const figure of document.querySelectorAll('[data-notes]')) {
  const button = figure.querySelector('[data-play]')
  const notes = [...figure.querySelectorAll('.note')]
  button.hidden = false
  button.addEventListener('click', () => {
    const audio = new AudioContext()
    figure.dataset.notes.split(' ').forEach((step, index) => {
      const at = audio.currentTime + index * 0.28
      const string = audio.createOscillator()
      const volume = audio.createGain()
      string.type = 'triangle'
      string.frequency.value = 261.63 * 2 ** (step / 12)
      volume.gain.setValueAtTime(0.3, at)
      volume.gain.exponentialRampToValueAtTime(0.001, at + 0.9)
      string.connect(volume).connect(audio.destination)
      string.start(at)
      string.stop(at + 1)
      setTimeout(() => notes[index].classList.add('now'), index * 280)
      setTimeout(() => notes[index].classList.remove('now'), index * 280 + 260)
    })
    setTimeout(() => audio.close(), notes.length * 280 + 1200)
  })
}
