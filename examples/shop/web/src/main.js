// The pages of the Piccolo shop. Configuration is by environment alone: PORT (8080), CATALOG_URL, CART_URL,
// ORDERS_URL, and REVIEWS_URL, without which no reviews are shown.
import { buildApp } from './app.js'
import { connect } from './peers.js'
import { makeLogger } from './telemetry.js'

const DRAIN_LIMIT_MS = 4000
const log = makeLogger('web')
const port = Number(process.env.PORT || 8080)
const address = (name, otherwise) => (process.env[name] || otherwise).replace(/\/+$/, '')

async function main () {
  const peers = connect({
    catalog: address('CATALOG_URL', 'http://localhost:8081'),
    cart: address('CART_URL', 'http://localhost:8082'),
    orders: address('ORDERS_URL', 'http://localhost:8083'),
    reviews: address('REVIEWS_URL', '')
  }, log)
  const app = await buildApp({ peers, log })
  await app.listen({ port, host: '0.0.0.0' })
  log.info('web is listening', { port, startup_ms: Math.round(performance.now()) })

  const stop = async () => {
    if (app.stopping) return
    app.stopping = true
    log.info('draining', { limit_ms: DRAIN_LIMIT_MS })
    setTimeout(() => {
      log.warn('requests were still running at the drain limit')
      process.exit(0)
    }, DRAIN_LIMIT_MS).unref()
    await app.close()
    log.info('stopped')
    process.exit(0)
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
}

main().catch((error) => {
  log.error('web stops', { error: error.message })
  process.exitCode = 1
})
