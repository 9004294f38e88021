/** Headless browsers for tests: Debian's Chromium and Firefox, driven by puppeteer-core, which runs on Node alone. */
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import type { Browser, LaunchOptions } from "puppeteer-core"

export type Name = "chromium" | "firefox"

const options: { readonly [N in Name]: LaunchOptions & { readonly executablePath: string } } = {
  chromium: {
    executablePath: process.env["CALLISTO_CHROMIUM"] ?? "/usr/bin/chromium",
    // Root has no sandbox. The rest keeps it from asking other machines.
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-dev-shm-usage",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync"
    ]
  },
  firefox: {
    browser: "firefox",
    executablePath: process.env["CALLISTO_FIREFOX"] ?? "/usr/bin/firefox-esr",
    extraPrefsFirefox: { "network.proxy.type": 0 }
  }
}

const names: ReadonlyArray<Name> = ["chromium", "firefox"]

export const isInstalled = (name: Name): boolean => existsSync(options[name].executablePath)

export const installed: ReadonlyArray<Name> = names.filter(isInstalled)

const absent = (name: Name): string =>
  `${name} is not installed at ${options[name].executablePath}. Install Debian's packages chromium and firefox-esr.`

/** A sentence for each browser that is not installed. */
export const missing: ReadonlyArray<string> = names.filter((name) => !isInstalled(name)).map(absent)

/** Starts a browser with a new profile, which goes when the browser is closed. */
export const launch = async (
  name: Name,
  timeout = 60_000
): Promise<Browser & { readonly end: () => Promise<void> }> => {
  if (!isInstalled(name)) throw new Error(absent(name))
  const { default: puppeteer } = await import("puppeteer-core")
  const userDataDir = mkdtempSync(join(tmpdir(), `callisto-${name}-`))
  const removeProfile = () => rmSync(userDataDir, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
  try {
    const browser = await puppeteer.launch({ ...options[name], headless: true, userDataDir, timeout })
    const end = async () => {
      await browser.close().catch(() => {})
      browser.process()?.kill("SIGKILL")
      removeProfile()
    }
    return Object.assign(browser, { end })
  } catch (error) {
    removeProfile()
    throw error
  }
}

/** Runs `use` with a browser, and ends the browser. */
export const withBrowser = async <A>(name: Name, use: (browser: Browser) => Promise<A>): Promise<A> => {
  const browser = await launch(name)
  try {
    return await use(browser)
  } finally {
    await browser.end()
  }
}
