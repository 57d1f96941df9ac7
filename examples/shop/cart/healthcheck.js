// The container's health check: exits 0 when the service on this machine is ready.
const url = `http://127.0.0.1:${process.env.PORT || 8080}/readyz`
fetch(url, { signal: AbortSignal.timeout(2000) }).then(
  (response) => process.exit(response.ok ? 0 : 1),
  () => process.exit(1)
)
