// Headless browsers for the tests and screenshots of the site: Debian's Chromium and Firefox, driven by puppeteer-core.
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs"
import { createServer } from "node:http"
import { tmpdir } from "node:os"
import { extname, join } from "node:path"
import process from "node:process"
import puppeteer from "puppeteer-core"

const programs = {
  chromium: process.env.CALLISTO_CHROMIUM ?? "/usr/bin/chromium",
  firefox: process.env.CALLISTO_FIREFOX ?? "/usr/bin/firefox-esr"
}

// Chromium's own services look for hosts beyond this machine otherwise.
const quiet = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync"
]

/** The browsers that are installed, and the words that say which are not. */
export const installed = Object.keys(programs).filter((name) => existsSync(programs[name]))
export const missing = Object.keys(programs).filter((name) => !existsSync(programs[name])).map((name) =>
  `${name} is not installed at ${programs[name]}. Install Debian's packages chromium and firefox-esr.`
)

/** Runs `use` with a browser that has a new profile, and ends it. */
export const withBrowser = async (name, use) => {
  const profile = mkdtempSync(join(tmpdir(), `callisto-${name}-`))
  const browser = await puppeteer.launch({
    browser: name === "firefox" ? "firefox" : "chrome",
    executablePath: programs[name],
    headless: true,
    userDataDir: profile,
    args: name === "chromium" ? quiet : []
  })
  try {
    return await use(browser)
  } finally {
    await browser.close()
    rmSync(profile, { recursive: true, force: true })
  }
}

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
