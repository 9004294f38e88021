// Copies of the library: as it is, and with every use of spans and metrics in the path of a call taken out.
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs"

/** What is taken out. A text must occur exactly once in its file, so that a change there doesn't go unnoticed. */
const cuts: ReadonlyArray<{ readonly file: string; readonly text: string; readonly by?: string }> = [
  {
    file: "src/Call.ts",
    text: "  clock: Clock.Clock | undefined = undefined\n  begunAt = 0\n  span: Tracer.Span | undefined = undefined\n"
  },
  {
    file: "src/Call.ts",
    text: `  pending.span = Observability.clientSpan(fiber, operation)
  if (pending.span !== undefined || metrics !== undefined) {
    pending.clock = fiber.getRef(Clock.Clock)
    pending.begunAt = pending.clock.currentTimeMillisUnsafe()
    metrics?.begun()
  }
`
  },
  { file: "src/Call.ts", text: "const { channel, metrics } = call.binding", by: "const { channel } = call.binding" },
  { file: "src/Call.ts", text: "  if (pending.clock !== undefined) observeEnd(pending, outcome)\n" },
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
  {
    file: "src/Server.ts",
    text: `    if (this.tracer !== undefined) {
      call.span = Observability.serverSpan(this.tracer, this.clock, dispatch.operation, "server", parent)
    }
    this.metrics?.begun()
`
  },
  { file: "src/Server.ts", text: "dispatch.fork(effect, call.span)", by: "dispatch.fork(effect, undefined)" },
  {
    file: "src/ServerCall.ts",
    text: "  span: Tracer.Span | undefined = undefined\n"
  },
  {
    file: "src/ServerCall.ts",
    text: "const { dispatch: { host, operation }, span } = this",
    by: "const { dispatch: { host } } = this"
  },
  {
    file: "src/ServerCall.ts",
    text: `    if (span !== undefined) Observability.endSpan(span, host.clock, operation, outcome ?? exit, exit)
    host.metrics?.completed(outcome === undefined ? "abandoned" : Observability.kindOf(outcome), this.age())
`
  }
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
