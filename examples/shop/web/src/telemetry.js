// One JSON object per line on stdout, and the trace context that travels from service to service.
import { randomUUID } from 'node:crypto'

const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}/

export function makeLogger (service) {
  const write = (level, msg, fields) => {
    const line = { ts: new Date().toISOString(), level, msg, service, ...fields }
    process.stdout.write(JSON.stringify(line) + '\n')
  }
  return {
    info: (msg, fields) => write('info', msg, fields),
    warn: (msg, fields) => write('warn', msg, fields),
    error: (msg, fields) => write('error', msg, fields)
  }
}

/** What a request brings along, with a request id of our own when it has none. */
export function contextOf (headers) {
  const traceparent = headers.traceparent
  const match = typeof traceparent === 'string' ? TRACEPARENT.exec(traceparent) : null
  const given = headers['x-request-id']
  const requestId = typeof given === 'string' && given.length > 0 && given.length <= 128 ? given : randomUUID()
  return { requestId, traceId: match?.[1], traceparent: match ? traceparent : undefined, tracestate: match ? headers.tracestate : undefined }
}

/** The headers that hand the context on to the next service. */
export function carry (context) {
  const headers = { 'x-request-id': context.requestId }
  if (context.traceparent) headers.traceparent = context.traceparent
  if (context.tracestate) headers.tracestate = context.tracestate
  return headers
}
