// The tests of the built site, in Chromium and Firefox: npm run site -- --test. The last line is `N passed, N failed`.
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { spawn } from "node:child_process"
import { createRequire } from "node:module"
import { join } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { installed, missing, withBrowser } from "../test/headless.ts"
import { withServer } from "./serve.mjs"

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8")

let passed = 0
let failed = 0

/** Runs one test, for at most a minute. */
const test = async (name, run) => {
  const begun = performance.now()
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("it took longer than a minute")), 60_000)
  })
  try {
    await Promise.race([run(), late])
    passed++
    console.log(`ok ${name} (${Math.round(performance.now() - begun)} ms)`)
  } catch (error) {
    failed++
    console.log(`FAILED ${name}: ${error.message}`)
  } finally {
    clearTimeout(timer)
  }
}

const equal = (actual, expected, what) => {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) {
    throw new Error(`${what}: got ${JSON.stringify(actual)}, expected ${JSON.stringify(expected)}`)
  }
}

/** Opens a page; `problems` are the errors of its scripts, failed requests, and requests to other hosts. */
const open = async (
  browser,
  url,
  { dark = false, reduced = false, scripts = true, width = 1280, height = 900 } = {}
) => {
  const page = await browser.newPage()
  const problems = []
  page.on("pageerror", (error) => problems.push(error.message))
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()))
  page.on("requestfailed", (request) => {
    // A worker that is ended while it loads takes its requests with it.
    if (!/abort/i.test(request.failure()?.errorText ?? "")) problems.push(`${request.url()} failed`)
  })
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url())
    if (protocol.startsWith("http") && origin !== new URL(url).origin) problems.push(`request to ${origin}`)
  })
  await page.setViewport({ width, height })
  if (!scripts) await page.setJavaScriptEnabled(false)
  if (dark) await page.evaluateOnNewDocument(() => localStorage.setItem("vitepress-theme-appearance", "dark"))
  if (reduced) await page.emulateMediaFeatures([{ name: "prefers-reduced-motion", value: "reduce" }])
  await page.goto(url, { waitUntil: "load" })
  return { page, problems }
}

const textOf = (page, selector) => page.$eval(selector, (element) => element.textContent.trim())

/** Waits until the live figure has calls that its server works on. */
const lively = (page) => page.waitForSelector("[data-live] [data-action=cancel]:not(:disabled)", { timeout: 20_000 })

/** Waits until the picture has so many calls with an outcome: it is drawn a moment after the log has its words. */
const drawn = (page, state, count) =>
  page.waitForFunction(
    (selector, count) => document.querySelectorAll(selector).length === count,
    { timeout: 1000 },
    `[data-picture] text.outcome.${state}`,
    count
  )

/** Waits for words in the log of the live figure, at most so many milliseconds. */
const said = (page, pattern, timeout) =>
  page.waitForFunction(
    (source) => new RegExp(source).test(document.querySelector("[data-words]").textContent),
    { timeout },
    pattern.source
  )

const pagesOf = (folder) =>
  readdirSync(folder, { recursive: true }).map((file) => file.replaceAll("\\", "/")).filter((file) =>
    file.endsWith(".html")
  )
    .sort()

/** What axe finds of impact serious or critical. */
const findings = async (page) => {
  await page.evaluate(axe)
  const { violations } = await page.evaluate(() => globalThis.axe.run({ resultTypes: ["violations"] }))
  return violations.filter(({ impact }) => impact === "serious" || impact === "critical").map(({ id, nodes }) =>
    `${id} at ${nodes.slice(0, 3).map(({ target }) => target.join(" ")).join(", ")}`
  )
}

/** Runs `use` with the URL of the inspector of the example, whose kitchen is at work. */
const withInspector = async (use) => {
  const example = fileURLToPath(new URL("../examples/inspected.ts", import.meta.url))
  const program = spawn(process.execPath, ["--conditions=@callisto/source", example], {
    stdio: ["ignore", "pipe", "inherit"]
  })
  try {
    const url = await new Promise((resolve, reject) => {
      let printed = ""
      program.stdout.on("data", (chunk) => {
        printed += chunk
        const found = /http:\/\/\S+#token=[\w.~-]+/.exec(printed)
        if (found !== null) resolve(found[0])
      })
      program.on("exit", () => reject(new Error(`the example has ended: ${printed}`)))
    })
    return await use(url)
  } finally {
    program.kill()
  }
}

/** Opens the inspector's page in a scheme of colours, and waits until calls have ended. */
const openInspector = async (browser, url, dark) => {
  const page = await browser.newPage()
  await page.setViewport({ width: 1280, height: 900 })
  // Firefox is asked for no scheme: its protocol has no way to.
  if (dark !== undefined) {
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }])
  }
  await page.goto(url)
  await page.waitForFunction(() => document.querySelectorAll("#ended .item").length > 8, { timeout: 30_000 })
  return page
}

const testLive = async (name, browser, url) => {
  await test(`${name}: the first page: one heading, a figure, and a log`, async () => {
    const { page, problems } = await open(browser, url)
    await lively(page)
    equal(await page.$$eval("h1", (all) => all.length), 1, "headings of the first level")
    equal(await page.$eval("[data-picture] svg", (svg) => svg.getAttribute("role")), "img", "role of the picture")
    equal(await page.$eval("[data-words]", (log) => log.getAttribute("role")), "log", "role of the words")
    equal(problems, [], "problems")
    await page.close()
  })
  await test(`${name}: the first button cancels a running call: seen within 5 s`, async () => {
    const { page } = await open(browser, url)
    await lively(page)
    equal(await textOf(page, "section.live button"), "Cancel call 1", "the first button")
    await page.click("section.live button")
    await said(page, /Call 1 has ended: cancelled/, 5000)
    await drawn(page, "cancelled", 1)
    await page.close()
  })
  await test(`${name}: a routine that goes on: the client gives its call up, the server ends it later`, async () => {
    const { page } = await open(browser, url)
    await lively(page)
    await page.click("[data-action=cancel]")
    await said(page, /Call 1 has ended/, 5000)
    await page.waitForFunction(() => /call 2/.test(document.querySelector("[data-action=cancel]").textContent), {
      timeout: 5000
    })
    await page.click("[data-action=cancel]")
    await said(page, /Call 2 has ended: cancelled/, 5000)
    await said(page, /The server has finished its work on call 2/, 12_000)
    await page.close()
  })
  await test(`${name}: wait, drop and an abort: the log says each`, async () => {
    const { page } = await open(browser, url)
    await lively(page)
    await page.click("[data-action=wait]")
    await said(page, /wait for call 1 has ended, the call has not/, 5000)
    await page.click("[data-action=drop]")
    await said(page, /dropped call 1/, 1000)
    await page.click("[data-action=Fill]")
    await said(page, /has ended: aborted: NoSpace/, 20_000)
    await page.close()
  })
  await test(`${name}: the worker is killed: its calls are lost within 3 s, and a new server serves`, async () => {
    const { page } = await open(browser, url)
    await lively(page)
    await page.click("[data-action=kill]")
    const killed = performance.now()
    await said(page, /Call 3 has ended: lost/, 3000)
    if (performance.now() - killed > 3000) throw new Error("it took longer than 3 s")
    await drawn(page, "lost", 3)
    await page.click("[data-action=kill]")
    await said(page, /begun call 4/, 5000)
    await page.close()
  })
  await test(`${name}: a server is started by a double click: one worker starts, and a hundred calls begin`, async () => {
    const { page, problems } = await open(browser, url)
    await page.evaluateOnNewDocument(() => {
      globalThis.started = 0
      globalThis.Worker = class extends Worker {
        constructor(...args) {
          super(...args)
          globalThis.started++
        }
      }
    })
    await page.reload({ waitUntil: "load" })
    await lively(page)
    await page.evaluate(() => {
      const kill = document.querySelector("[data-action=kill]")
      for (let clicks = 0; clicks < 3; clicks++) kill.click()
    })
    await said(page, /begun call 4/, 5000)
    equal(await page.evaluate(() => globalThis.started), 2, "workers")
    await page.evaluate(() => {
      const copy = document.querySelector("[data-action=Copy]")
      for (let clicks = 0; clicks < 100; clicks++) copy.click()
    })
    await said(page, /begun call 104/, 5000)
    equal(await page.$$eval("[data-picture] svg", (all) => all.length), 1, "pictures")
    await page.click("[data-action=kill]")
    await said(page, /Call 104 has ended: lost/, 5000)
    equal(problems, [], "problems")
    await page.close()
  })
  await test(`${name}: the worker does not load: the log says so, the recorded picture stays, and a new try works`, async () => {
    const { page } = await open(browser, url)
    await page.evaluateOnNewDocument(() => {
      let tries = 0
      globalThis.Worker = class extends Worker {
        constructor(url, options) {
          super(tries++ === 0 ? new URL("no-such-worker.js", url) : url, options)
        }
      }
    })
    await page.reload({ waitUntil: "load" })
    await said(page, /No server could be started/, 10_000)
    equal(await page.$$eval("[data-picture] .live-wide", (all) => all.length), 1, "recorded pictures")
    await page.click("[data-action=kill]")
    await said(page, /begun call 1,/, 10_000)
    await lively(page)
    await page.close()
  })
  await test(`${name}: with the keyboard alone: Tab reaches the buttons, Enter cancels`, async () => {
    const { page } = await open(browser, url)
    await lively(page)
    for (let tabs = 0; tabs < 40; tabs++) {
      await page.keyboard.press("Tab")
      if (await page.evaluate(() => document.activeElement?.dataset?.action === "cancel")) break
    }
    await page.keyboard.press("Enter")
    await said(page, /Call 1 has ended: cancelled/, 5000)
    await page.close()
  })
  await test(`${name}: search for waitAny: finds the reference`, async () => {
    const { page } = await open(browser, url)
    await page.waitForSelector(".VPNavBarSearch button")
    await page.keyboard.down("Control")
    await page.keyboard.press("k")
    await page.keyboard.up("Control")
    await page.waitForSelector(".VPLocalSearchBox input")
    await page.type(".VPLocalSearchBox input", "waitAny")
    await page.waitForFunction(
      () =>
        [...document.querySelectorAll(".VPLocalSearchBox a.result")].some((link) => link.href.includes("/reference/")),
      { timeout: 10_000 }
    )
    await page.close()
  })
  await test(`${name}: narrow window: nothing is wider than the window`, async () => {
    const { page } = await open(browser, url, { width: 390, height: 800 })
    await lively(page)
    equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, "fits")
    await page.close()
  })
}

/** Links and sources of a page that lead to no file of the site. */
const deadLinks = (folder, base, file) =>
  [...readFileSync(join(folder, file), "utf8").matchAll(/ (?:href|src)="([^"]+)"/g)].map(([, link]) => link)
    .filter((link) => !/^(?:[a-z]+:|#)/.test(link))
    .filter((link) => {
      const { pathname } = new URL(link.replaceAll("&amp;", "&"), `http://localhost${base}${file}`)
      const inside = pathname.startsWith(base) ? decodeURIComponent(pathname.slice(base.length)) : undefined
      // The page for what is not there is shown at any address, so its links begin at the base.
      if (inside === undefined || (file === "404.html" && !link.startsWith(base))) return true
      return !existsSync(join(folder, inside.endsWith("/") || inside === "" ? `${inside}index.html` : inside))
    })

/** Tests each page in Chromium, light and dark, with a new browser for every few of them: one that has seen hundreds may die. */
const testPages = async (folder, url) => {
  const files = pagesOf(folder)
  while (files.length > 0) {
    const some = files.splice(0, 10)
    await withBrowser("chromium", async (browser) => {
      for (const file of some) {
        for (const dark of [false, true]) {
          await test(`chromium: ${file}, ${dark ? "dark" : "light"}: no error, no request elsewhere, axe finds nothing serious`, async () => {
            const { page, problems } = await open(browser, url + file, { dark, reduced: true })
            equal(await findings(page), [], "findings")
            equal(problems.filter((problem) => !(file === "404.html" && problem.includes("404"))), [], "problems")
            equal((await textOf(page, "h1, .NotFound")).length > 0, true, "has a title")
            await page.close()
          })
        }
      }
    })
  }
}

/** Tests a built site: `folder` holds it, to be served under `base`. */
export const testSite = async (folder, base, version) => {
  for (const sentence of missing) {
    failed++
    console.log(`FAILED ${sentence}`)
  }
  for (const file of pagesOf(folder)) {
    await test(`${file}: each link leads to a page`, () =>
      Promise.resolve(equal(deadLinks(folder, base, file), [], "dead links")))
  }
  await withServer(folder, base, async (url) => {
    for (const name of installed) {
      await withBrowser(name, async (browser) => {
        await testLive(name, browser, url)
        await test(`${name}: the inspector: shows calls, and filters them by the keyboard alone`, () =>
          withInspector(async (inspector) => {
            const page = await openInspector(browser, inspector)
            equal(await textOf(page, "#connection"), "Live", "connection")
            await page.focus("#text")
            await page.keyboard.type("no such method")
            await page.waitForFunction(() => document.querySelectorAll(".item").length === 0, { timeout: 5000 })
            await page.keyboard.press("Tab")
            equal(await page.evaluate(() => document.activeElement.id), "side", "what Tab reaches")
            await page.close()
          }))
        if (name !== "chromium") return

        await test("chromium: before the program is there: the recorded figure stands in its place, and nothing jumps", async () => {
          const { page } = await open(browser, url)
          const shift = await page.evaluate(() =>
            new Promise((resolve) => {
              let sum = 0
              new PerformanceObserver((list) => {
                for (const entry of list.getEntries()) sum += entry.value
              }).observe({ type: "layout-shift", buffered: true })
              setTimeout(() => resolve(sum), 3000)
            })
          )
          if (shift > 0.02) throw new Error(`the layout shifts by ${shift}`)
          await page.close()
        })
        await test("chromium: without scripts: the recorded figure and the text are there", async () => {
          const { page } = await open(browser, url, { scripts: false })
          equal((await page.$$("[data-picture] svg")).length, 2, "pictures")
          await page.close()
        })
        await test("chromium: with less motion: the figure is drawn at most twice a second", async () => {
          const { page } = await open(browser, url, { reduced: true })
          await lively(page)
          const changes = await page.evaluate(() =>
            new Promise((resolve) => {
              let count = 0
              new MutationObserver(() => count++).observe(document.querySelector("[data-picture]"), { childList: true })
              setTimeout(() => resolve(count), 2000)
            })
          )
          if (changes < 2 || changes > 5) throw new Error(`${changes} drawings in 2 s`)
          await page.close()
        })
        await test("chromium: the header: has the version", async () => {
          const { page } = await open(browser, url)
          equal((await textOf(page, "header")).includes(version), true, "version in the header")
          await page.close()
        })
        await test("chromium: an address without a page: the page for it, with status 404", async () => {
          const page = await browser.newPage()
          const response = await page.goto(`${url}no-such-page.html`)
          equal(response.status(), 404, "status")
          await page.waitForFunction(() => /not found/i.test(document.body.textContent), { timeout: 5000 })
          await page.close()
        })
        for (const dark of [false, true]) {
          await test(`chromium: the inspector, ${dark ? "dark" : "light"}: axe finds nothing serious`, () =>
            withInspector(async (inspector) => {
              const page = await openInspector(browser, inspector, dark)
              await page.setBypassCSP(true)
              await page.click("#pause")
              equal(await findings(page), [], "findings")
              await page.close()
            }))
        }
      })
    }
    if (installed.includes("chromium")) await testPages(folder, url)
  })
  console.log(`${passed} passed, ${failed} failed`)
  return failed === 0 && passed > 0
}

/** Writes screenshots to a folder: the first screen, and the live figure in its states, light and dark, wide and narrow. */
export const shootSite = async (folder, base, shots) => {
  await withServer(folder, base, (url) =>
    withBrowser("chromium", async (browser) => {
      for (const dark of [false, true]) {
        const scheme = dark ? "dark" : "light"
        const { page } = await open(browser, url, { dark })
        await lively(page)
        await page.screenshot({ path: join(shots, `first-screen-${scheme}.png`) })
        await page.click("[data-action=cancel]")
        await said(page, /Call 1 has ended/, 5000)
        await page.click("[data-action=Fill]")
        await page.click("[data-action=cancel]")
        await said(page, /Call 2 has ended/, 5000)
        await page.screenshot({ path: join(shots, `live-${scheme}.png`) })
        await page.click("[data-action=kill]")
        await said(page, /lost/, 4000)
        await page.screenshot({ path: join(shots, `live-killed-${scheme}.png`) })
        await page.close()
        for (const name of ["tutorial.html", "reference/Call.html"]) {
          const { page } = await open(browser, url + name, { dark })
          await page.screenshot({ path: join(shots, `${name.replaceAll(/\W/g, "-")}-${scheme}.png`) })
          await page.close()
        }
      }
      const { page } = await open(browser, url, { width: 390, height: 1000 })
      await lively(page)
      await page.screenshot({ path: join(shots, "first-screen-narrow.png") })
      await page.close()
      await withInspector(async (inspector) => {
        for (const dark of [false, true]) {
          const page = await openInspector(browser, inspector, dark)
          await page.screenshot({ path: join(shots, `inspector-${dark ? "dark" : "light"}.png`) })
          await page.close()
        }
      })
    }))
}
