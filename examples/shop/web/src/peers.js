// The services behind the pages. A peer that does not answer becomes a PeerDown that says which one it is.
import { carry } from './telemetry.js'

export class PeerDown extends Error {
  constructor (service, reason) {
    super(`${service}: ${reason}`)
    this.service = service
  }
}

const SKIP_AFTER_FAILURE_MS = 3000

export function connect (addresses, log) {
  const skipUntil = new Map()

  async function once (service, path, { method = 'GET', body, headers, timeoutMs }) {
    const response = await fetch(addresses[service] + path, {
      method,
      headers: body ? { ...headers, 'content-type': 'application/json' } : headers,
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(timeoutMs)
    })
    const text = await response.text()
    return { status: response.status, body: parsed(text), type: response.headers.get('content-type'), text }
  }

  async function call (context, service, path, options = {}) {
    if (!addresses[service]) throw new PeerDown(service, 'has no address')
    const settled = { timeoutMs: 2500, ...options, headers: { ...carry(context), accept: 'application/json', ...options.headers } }
    try {
      return await attempt(service, path, settled)
    } catch (error) {
      const reason = error.cause?.code ?? error.cause?.message ?? error.name
      log.warn('peer does not answer', { peer: service, path, reason, trace_id: context.traceId, request_id: context.requestId })
      throw new PeerDown(service, reason)
    }
  }

  // A kept-alive connection may be closed by the other side just as we use it. Reading again is safe; writing is not.
  async function attempt (service, path, options) {
    try {
      return await once(service, path, options)
    } catch (error) {
      const closed = ['ECONNRESET', 'UND_ERR_SOCKET', 'EPIPE'].includes(error.cause?.code)
      if (!closed || (options.method ?? 'GET') !== 'GET') throw error
      return once(service, path, options)
    }
  }

  /** For what a page can do without: null when the peer fails, and for a moment after that it is not even asked. */
  async function optional (context, service, path, timeoutMs) {
    if (!addresses[service] || skipUntil.get(service) > Date.now()) return null
    try {
      const { status, body } = await call(context, service, path, { timeoutMs })
      if (status === 200) return body
    } catch {
      skipUntil.set(service, Date.now() + SKIP_AFTER_FAILURE_MS)
    }
    return null
  }

  /** The body of a 2xx; null for 404; the error that an answer means otherwise. */
  async function need (context, service, path, options) {
    const answer = await call(context, service, path, options)
    if (answer.status === 404 && !options?.method) return null
    if (answer.status >= 500) throw new PeerDown(blamed(answer, service), `answered ${answer.status}`)
    if (answer.status >= 400) throw Object.assign(new Error(answer.body?.error?.message ?? `${service} answered ${answer.status}`), { refused: answer })
    return answer.body
  }

  return { call, need, optional }
}

/** A service that fails because of another one says so by its code: "catalog_unavailable". */
export function blamed (answer, service) {
  return /^([a-z]+)_unavailable$/.exec(answer.body?.error?.code ?? '')?.[1] ?? service
}

function parsed (text) {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
