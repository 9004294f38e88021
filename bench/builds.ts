// Copies of the library: as it is, and with every use of spans and metrics in the path of a call taken out.
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs"

/** What is taken out. A text must occur exactly once in its file, so that a change there doesn't go unnoticed. */
const cuts: ReadonlyArray<{ readonly file: string; readonly text: string; readonly by?: string }> = [
  {
    file: "src/Call.ts",
    text: "  watch: Watch | undefined = undefined\n  readonly pipes"
  },
  { file: "src/Call.ts", text: "    return this.watch?.span\n", by: "    return undefined\n" },
  {
    file: "src/Call.ts",
    text: `  if (watching !== undefined || fiber.cache.tracer !== undefined) {
    pending.watch = watchClient(fiber, operation, watching, channel.address, () => {
      // Until it is issued, a call is cancelled by interrupting its begin.
      if (pending.remote !== undefined) {
        Effect.runForkWith(fiber.context)(Effect.ignore(cancel(pending, { timeout: 0 })))
      }
    })
  }
`
  },
  { file: "src/Call.ts", text: "const { channel, watching } = call.binding", by: "const { channel } = call.binding" },
  { file: "src/Call.ts", text: "  if (pending.watch !== undefined) pending.watch.end(outcome)\n" },
  { file: "src/Call.ts", text: `  pending.watch?.changed("CancelRequested", "cancel", { timeout: millis })\n` },
  { file: "src/Call.ts", text: "    this.watch?.transferred(direction, bytes)\n" },
  {
    file: "src/Binding.ts",
    text: "this.server.run(serverCall, input, call.span)",
    by: "this.server.run(serverCall, input)"
  },
  {
    file: "src/Server.ts",
    text: "run(call: ServerCallImpl, input: unknown, parent: Tracer.AnySpan | undefined)",
    by: "run(call: ServerCallImpl, input: unknown)"
  },
  { file: "src/Server.ts", text: "    if (this.watches) this.watch(call, parent)\n" },
  { file: "src/Server.ts", text: "dispatch.fork(effect, call.watch?.span)", by: "dispatch.fork(effect, undefined)" },
  { file: "src/ServerCall.ts", text: "  watch: Watch | undefined = undefined\n" },
  { file: "src/ServerCall.ts", text: "    this.watch?.changed(reason)\n" },
  { file: "src/ServerCall.ts", text: `    this.watch?.changed("CancelRequested", "Cancelled")\n` },
  {
    file: "src/ServerCall.ts",
    text: "Effect.logError(message, cause), this.watch?.span",
    by: "Effect.logError(message, cause), undefined"
  },
  { file: "src/ServerCall.ts", text: `    this.watch?.changed("HandedOff")\n` },
  { file: "src/ServerCall.ts", text: "    if (this.watch !== undefined) this.watch.end(outcome, exit)\n" }
]

const copy = (name: string): URL => {
  const target = new URL(`./.build/${name}/`, import.meta.url)
  rmSync(target, { recursive: true, force: true })
  cpSync(new URL("../src/", import.meta.url), new URL("src/", target), { recursive: true })
  cpSync(new URL("../mod.ts", import.meta.url), new URL("mod.ts", target))
  return target
}

/** The library as it is. */
export const plain = (): URL => new URL("mod.ts", copy("plain"))

/** The library without spans and metrics. */
export const withoutObservability = (): URL => {
  const build = copy("without")
  for (const { by = "", file, text } of cuts) {
    const path = new URL(file, build)
    const [before, after, ...more] = readFileSync(path, "utf8").split(text)
    if (after === undefined || more.length > 0) {
      throw new Error(`bench/builds.ts: ${file} does not have exactly one occurrence of:\n${text}`)
    }
    writeFileSync(path, before + by + after)
  }
  return new URL("mod.ts", build)
}
