import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Schema } from "effect"
import process from "node:process"
import type { Page } from "puppeteer-core"
import { Binding, Call, Interface, Manager, Server } from "../../mod.ts"
import { script } from "../../src/inspector/internal/page.ts"
import { ground, palette } from "../../src/inspector/internal/palette.ts"
import { isInstalled, launch } from "../headless.ts"
import { inspect } from "./feed.ts"

// puppeteer drives a browser from Node alone.
const hasBrowser = isInstalled("chromium") && !("deno" in process.versions) && !("bun" in process.versions)

/** A page of a browser of its own, and what went wrong on it. */
const openPage = Effect.gen(function* () {
  const browser = yield* Effect.acquireRelease(
    Effect.promise(() => launch("chromium")),
    (browser) => Effect.promise(browser.end)
  )
  const page: Page = yield* Effect.promise(() => browser.newPage())
  const problems: Array<string> = []
  page.on("pageerror", (error) => problems.push(String(error)))
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()))
  page.on("dialog", (dialog) => {
    problems.push(dialog.message())
    void dialog.dismiss()
  })
  const requested: Array<string> = []
  page.on("request", (request) => requested.push(request.url()))
  return { page, problems, requested }
})

const wait = (page: Page, expression: string) =>
  Effect.promise(() => page.waitForFunction(expression, { timeout: 10_000 }))

const evaluate = (page: Page, expression: string) => Effect.promise(() => page.evaluate(expression))

/** The contrast of two colours, as WCAG defines it. */
const contrast = (one: string, other: string): number => {
  const luminance = (colour: string) => {
    const [r, g, b] = [1, 3, 5].map((at) => {
      const part = parseInt(colour.slice(at, at + 2), 16) / 255
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
    })
    return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!
  }
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b)
  return (light! + 0.05) / (dark! + 0.05)
}

describe("the page", () => {
  it("its colours: have a contrast of at least 4.5 as text", () => {
    for (const [shade, { dark, light }] of Object.entries(palette)) {
      assert.isAtLeast(contrast(light, ground.light), 4.5, shade)
      assert.isAtLeast(contrast(dark, ground.dark), 4.5, shade)
    }
  })

  it("its script: shows text by textContent alone", () => {
    assert.notMatch(
      script,
      /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|localStorage/
    )
  })

  it.live.skipIf(!hasBrowser)(
    "a hostile caller, a cancel by keyboard, a filter and the end of the program: are shown as they are",
    () =>
      Effect.gen(function* () {
        const { close, context, origin, url } = yield* inspect({ cancel: true, values: true })
        const IJob = Interface.make("IJob", {
          methods: { Run: Interface.method({ in: { text: Schema.String } }), Rest: Interface.method({}) }
        })
        const manager = Manager.make(IJob, { Run: () => Effect.never, Rest: () => Effect.void })
        const job = yield* Effect.provideContext(
          Effect.flatMap(Server.make([manager], { grace: 0 }), (server) =>
            Binding.local(server, IJob, { caller: { name: "<img src=x onerror=alert(1)>\u202e", domain: "CORP" } })),
          context
        )
        const running = yield* Call.begin(yield* Call.make(job), "Run", { text: "<b>bold</b>" })
        yield* Call.invoke(job, "Rest")

        const { page, problems, requested } = yield* openPage
        yield* Effect.promise(() =>
          page.goto(url)
        )
        yield* wait(
          page,
          "document.querySelectorAll('#open .item').length === 2 && document.querySelectorAll('#ended .item').length === 2"
        )
        assert.strictEqual(page.url(), `${origin}/`)
        assert.strictEqual(yield* evaluate(page, "document.querySelector('#connection').textContent"), "Live")
        const server = "#open .item[data-shade=running]"
        assert.include(
          yield* evaluate(page, `document.querySelector('${server} .peer').textContent`),
          "CORP\\<img src=x onerror=alert(1)>\\u{202e}"
        )
        assert.strictEqual(yield* evaluate(page, "document.querySelectorAll('main img, main b').length"), 0)

        // By the keyboard alone: the details, then the button behind them.
        yield* evaluate(page, `document.querySelector('${server} .toggle').focus()`)
        yield* Effect.promise(() => page.keyboard.press("Enter"))
        yield* wait(page, "document.querySelector('.details .arguments')?.textContent === '{ text: \"<b>bold</b>\" }'")
        yield* Effect.promise(() => page.keyboard.press("Tab"))
        assert.include(yield* evaluate(page, "document.activeElement.getAttribute('aria-label')"), "Cancel Run, call ")
        yield* Effect.promise(() => page.keyboard.press("Enter"))
        assert.isTrue(Exit.isFailure(yield* Effect.exit(Call.join(running))))
        yield* wait(
          page,
          "document.querySelectorAll('#open .item').length === 0 && document.querySelectorAll('#ended .item[data-shade=cancelled]').length === 2"
        )

        yield* Effect.promise(() => page.type("#text", "rest"))
        yield* wait(
          page,
          "document.querySelectorAll('#ended .item').length === 2 && !document.querySelector('#ended .item[data-shade=cancelled]')"
        )
        yield* Effect.promise(() => page.reload())
        yield* wait(
          page,
          "document.querySelector('#text').value === 'rest' && document.querySelectorAll('#ended .item').length === 2"
        )

        yield* close
        yield* wait(page, "document.querySelector('#connection').textContent.startsWith('The program ')")
        assert.isTrue(requested.every((one) => one.startsWith(`${origin}/`)))
        assert.deepStrictEqual(problems.filter((one) => !one.includes("net::ERR_")), [])
      }),
    60_000
  )

  it.live.skipIf(!hasBrowser)(
    "a pause: the page stands still, keeps no news, and shows the present when it goes on",
    () =>
      Effect.gen(function* () {
        const { context, url } = yield* inspect({})
        const IJob = Interface.make("IJob", { methods: { Rest: Interface.method({}) } })
        const manager = Manager.make(IJob, { Rest: () => Effect.void })
        const job = yield* Effect.provideContext(
          Effect.flatMap(Server.make([manager], { grace: 0 }), (server) => Binding.local(server, IJob)),
          context
        )
        yield* Call.invoke(job, "Rest")
        const { page, problems } = yield* openPage
        yield* Effect.promise(() => page.goto(url))
        yield* wait(page, "document.querySelectorAll('#ended .item').length === 2")

        yield* Effect.promise(() => page.click("#pause"))
        for (let i = 0; i < 4; i++) yield* Call.invoke(job, "Rest")
        // News goes to all viewers at once, so this page has it when another one shows it.
        const other = yield* Effect.promise(() => page.browser().newPage())
        yield* Effect.promise(() => other.goto(url))
        yield* wait(other, "document.querySelectorAll('#ended .item').length === 10")
        yield* Effect.promise(() => page.bringToFront())
        yield* Effect.promise(() => page.type("#text", "rest"))
        assert.strictEqual(yield* evaluate(page, "document.querySelectorAll('#ended .item').length"), 2)

        yield* Effect.promise(() => page.click("#pause"))
        yield* wait(page, "document.querySelectorAll('#ended .item').length === 10")
        assert.deepStrictEqual(problems, [])
      }),
    60_000
  )
})
