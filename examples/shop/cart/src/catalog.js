// The catalog as the cart sees it: what a product is called, what it costs, how many there are.
import { ApiError } from './app.js'

const TIMEOUT_MS = 1500

export function catalogAt (baseUrl) {
  const base = baseUrl.replace(/\/+$/, '')
  const get = async (path, headers) => {
    try {
      const response = await fetch(base + path, { headers, signal: AbortSignal.timeout(TIMEOUT_MS) })
      return { status: response.status, body: await response.json() }
    } catch (error) {
      throw new ApiError(503, 'catalog_unavailable', `the catalog does not answer (${error.cause?.code ?? error.name})`)
    }
  }
  return {
    async product (sku, headers) {
      const { status, body } = await get(`/products/${encodeURIComponent(sku)}`, headers)
      if (status === 404) throw new ApiError(404, 'unknown_product', `there is no product '${sku}'`)
      if (status !== 200) throw new ApiError(503, 'catalog_unavailable', `the catalog answered ${status}`)
      return body
    },
    async products (skus, headers) {
      const { status, body } = await get(`/products?limit=100&skus=${skus.map(encodeURIComponent).join(',')}`, headers)
      if (status !== 200) throw new ApiError(503, 'catalog_unavailable', `the catalog answered ${status}`)
      return new Map(body.items.map((product) => [product.sku, product]))
    }
  }
}
