// A server of the built site, for its tests and screenshots.
import { existsSync, readFileSync, statSync } from "node:fs"
import { createServer } from "node:http"
import { extname, join } from "node:path"

const types = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".json": "application/json"
}

/** Runs `use` with the address of a server of a folder's files, under a path. */
export const withServer = async (folder, base, use) => {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://localhost")
    const inside = pathname.startsWith(base) && !pathname.includes("..")
      ? decodeURIComponent(pathname.slice(base.length))
      : undefined
    let file = inside === undefined ? undefined : join(folder, inside)
    if (file !== undefined && existsSync(file) && statSync(file).isDirectory()) file = join(file, "index.html")
    const found = file !== undefined && existsSync(file)
    response.writeHead(found ? 200 : 404, {
      "content-type": types[found ? extname(file) : ".html"] ?? "application/octet-stream"
    })
    response.end(readFileSync(found ? file : join(folder, "404.html")))
  })
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve))
  try {
    return await use(`http://127.0.0.1:${server.address().port}${base}`)
  } finally {
    server.closeAllConnections()
    server.close()
  }
}
