// Carts of the Piccolo shop. Configuration is by environment alone: PORT (8080), CATALOG_URL,
// DATABASE_PATH (data/cart.db, relative to the working directory).
import { buildApp } from './app.js'
import { catalogAt } from './catalog.js'
import { openStore } from './store.js'
import { makeLogger } from './telemetry.js'

const DRAIN_LIMIT_MS = 4000
const log = makeLogger('cart')
const port = Number(process.env.PORT || 8080)

async function main () {
  const store = openStore(process.env.DATABASE_PATH || 'data/cart.db')
  const catalog = catalogAt(process.env.CATALOG_URL || 'http://localhost:8081')
  const app = buildApp({ store, catalog, log })
  await app.listen({ port, host: '0.0.0.0' })
  log.info('cart is listening', { port, startup_ms: Math.round(performance.now()) })

  const stop = async () => {
    if (app.stopping) return
    app.stopping = true
    log.info('draining', { limit_ms: DRAIN_LIMIT_MS })
    setTimeout(() => {
      log.warn('requests were still running at the drain limit')
      process.exit(0)
    }, DRAIN_LIMIT_MS).unref()
    await app.close()
    store.close()
    log.info('stopped')
    process.exit(0)
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
}

main().catch((error) => {
  log.error('cart stops', { error: error.message })
  process.exitCode = 1
})
