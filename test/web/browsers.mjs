// Opens the page of examples/web in browsers, uses it as a person would, and reads what it shows and what the server prints.
import { spawn } from "node:child_process"
import process from "node:process"
import { setTimeout } from "node:timers/promises"
import { withBrowser } from "../headless.ts"

/** For what hangs, not for a busy machine. */
const tooLong = 30_000
const allTooLong = 480_000

let passed = 0
let failed = 0

/** Runs a test, which throws what is wrong. */
const test = async (name, run) => {
  try {
    const note = await run()
    passed++
    console.log(`ok     ${name}${note === undefined ? "" : `, ${note}`}`)
  } catch (error) {
    failed++
    console.log(`FAILED ${name}: ${error.message}`)
  }
}

/** Asks again until the answer is there. */
const until = async (what, ask, timeout = tooLong) => {
  const start = performance.now()
  let last
  while (performance.now() - start < timeout) {
    const [isThere, seen] = await ask()
    if (isThere) return performance.now() - start
    last = seen
    await setTimeout(20)
  }
  throw new Error(`${what}: not after ${timeout / 1000} s, got ${JSON.stringify(last)}`)
}

// ----------------------------------------------------------------------------
// the server
// ----------------------------------------------------------------------------

const running = new Set()

const startServer = async () => {
  const child = spawn(process.execPath, [...process.execArgv, "examples/web/server.ts", "--port", "0"], {
    stdio: ["ignore", "pipe", "pipe"]
  })
  running.add(child)
  const server = { lines: "", url: "", kill: () => process.kill(child.pid, "SIGTERM") }
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => {
      server.lines += text
    })
  }
  server.ended = new Promise((resolve) =>
    child.on("close", (status) => {
      running.delete(child)
      resolve(status)
    })
  )
  await until("the server listens", () => {
    server.url = /open (http:\S+)/.exec(server.lines)?.[1]
    return [server.url !== undefined, server.lines]
  })
  server.count = (line) => server.lines.split(line).length - 1
  return server
}

// ----------------------------------------------------------------------------
// the page
// ----------------------------------------------------------------------------

const open = async (browser, url) => {
  const page = await browser.newPage()
  await page.goto(url)
  const textOf = (id) => page.$eval(`#${id}`, (element) => element.textContent)
  const shows = (id, pattern, timeout) =>
    until(`#${id} shows ${pattern}`, async () => {
      const text = await textOf(id)
      return [pattern.test(text), text]
    }, timeout)
  const click = (id) => page.click(`#${id}`)
  const write = (text) =>
    page.$eval("#text", (element, text) => {
      element.value = text
    }, text)
  await shows("greeting", /./)
  return { page, click, shows, textOf, write, to: (name) => page.select("#to", name) }
}

const testIn = async (name, browser, server) => {
  const { click, page, shows, textOf, to, write } = await open(browser, server.url)

  await test(`${name}: the caller is the visitor of the cookie`, async () => {
    await shows("greeting", /^hello visitor \d+$/)
  })

  for (const where of ["server", "worker"]) {
    const title = `${name}, the ${where}`
    await to(where)
    await test(`${title}: a call`, async () => {
      await write("one two three")
      await click("count")
      await shows("counted", /^3 words$/)
    })
    await test(`${title}: a declared abort is its error`, async () => {
      await write(" ")
      await click("count")
      await shows("counted", /NoWords: " " has no words$/)
    })
    await test(`${title}: 1,000 calls at once`, async () => {
      await write("one two")
      await click("many")
      await shows("counted", /^1000 calls, 1 result$/)
    })
    await test(`${title}: an in pipe of 4 MiB`, async () => {
      await click("measure")
      await shows("piped", /^4194304 bytes arrived$/)
    })
    await test(`${title}: an out pipe of 10,000 lines`, async () => {
      await click("recite")
      await shows("piped", /^10000 lines came$/)
    })
    await test(`${title}: a cancel interrupts the routine`, async () => {
      const before = server.count("Think: cancelled")
      await click("think")
      await shows("thought", /^…$/)
      await click("cancel")
      await shows("thought", /CallCancelled/)
      if (where === "server") {
        await until("the server sees the cancel", () => [server.count("Think: cancelled") > before, server.lines])
      }
    })
  }

  await test(`${name}: the worker dies, its call is lost within 3 s`, async () => {
    await to("worker")
    await click("think")
    await shows("thought", /^…$/)
    await click("kill")
    const millis = await shows("thought", /RpcTransportError/)
    if (millis > 3000) throw new Error(`it took ${Math.round(millis)} ms: ${await textOf("thought")}`)
    return `after ${Math.round(millis)} ms`
  })

  await test(`${name}: the page goes elsewhere, the server cancels its call`, async () => {
    const before = server.count("Think: cancelled")
    const begun = server.count("Think: begun")
    await to("server")
    await click("think")
    await until("the server has it", () => [server.count("Think: begun") > begun, server.lines])
    // The same server, and another origin.
    await page.goto(server.url.replace("127.0.0.1", "localhost") + "/other")
    const millis = await until(
      "the server sees it",
      () => [server.count("Think: cancelled") > before, server.lines]
    )
    return `after ${Math.round(millis)} ms`
  })

  await test(`${name}: a page of another origin is refused`, async () => {
    const before = server.count("the origin of the page is not allowed")
    const url = server.url.replace("http:", "ws:") + "/rpc"
    const event = await page.evaluate((url) =>
      new Promise((resolve) => {
        const socket = new WebSocket(url)
        for (const type of ["open", "error"]) socket.addEventListener(type, () => resolve(type))
      }), url)
    if (event !== "error") throw new Error(`the WebSocket had the event ${event}`)
    await until("the server says so", () => [
      server.count("the origin of the page is not allowed") > before,
      server.lines
    ])
  })
}

const everything = async (names) => {
  const server = await startServer()
  for (const name of names) {
    try {
      await withBrowser(name, async (browser) => {
        running.add(browser.process())
        await testIn(name, browser, server)
        if (name !== names.at(-1)) return
        await test("the server ends while a page is open", async () => {
          await open(browser, server.url)
          server.kill()
          const status = await server.ended
          if (status !== 0) throw new Error(`exit code ${status}: ${server.lines}`)
        })
      })
    } catch (error) {
      await test(name, () => Promise.reject(error))
    }
  }
}

const wanted = process.argv.slice(2)
try {
  await Promise.race([
    everything(wanted.length > 0 ? wanted : ["chromium", "firefox"]),
    setTimeout(allTooLong, undefined, { ref: false }).then(() => Promise.reject(new Error("It takes too long.")))
  ])
} catch (error) {
  await test("browsers", () => Promise.reject(error))
} finally {
  for (const child of running) child?.kill("SIGKILL")
}
console.log(`${passed} passed, ${failed} failed`)
process.exit(failed > 0 || passed === 0 ? 1 : 0)
