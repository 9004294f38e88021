/** A server of boxes, which are context handles: for tests of them in one process and, as NDR, over the wire. */
import { Effect, Exit, Queue, Stream } from "effect"
import { ContextHandle, Interface, Manager, Pipe, ServerCall, type Status } from "../mod.ts"
import * as Ndr from "../src/ndr/Ndr.ts"
import { Denied } from "./fixtures.ts"

export const Box = ContextHandle.make("Box")
export const Jar = ContextHandle.make("Jar")

const text = { text: Ndr.WString }
const aborts = [Interface.abort(5000, Denied)]

const methods = {
  Open: Interface.method({ in: text, out: { box: Box }, aborts }),
  OpenJar: Interface.method({ in: text, out: { jar: Jar } }),
  Use: Interface.method({ in: { box: Box, ...text }, out: Ndr.WString, aborts }),
  Peek: Interface.method({ in: { box: ContextHandle.shared(Box), ...text }, out: Ndr.WString }),
  Look: Interface.method({ in: { box: Box, ...text }, out: Ndr.WString, idempotent: true }),
  Hold: Interface.method({ in: { box: Box }, out: Ndr.WString }),
  Move: Interface.method({ in: { from: Box, to: Box }, out: Ndr.WString }),
  Close: Interface.method({ in: { box: Box }, out: { box: ContextHandle.nullable(Box) }, aborts }),
  // Null opens a box, any other is closed.
  Toggle: Interface.method({
    in: { box: ContextHandle.nullable(Box) },
    out: { box: ContextHandle.nullable(Box) }
  }),
  Pass: Interface.method({ in: { box: Box }, out: { box: Box } }),
  Spill: Interface.method({ in: { jar: Jar } }),
  Forget: Interface.method({ in: text }),
  /** Its calls have connections of their own. */
  Pour: Interface.method({ inPipe: { drops: Pipe.bytes } }),
  /** Opens a box behind its pipe. */
  Fill: Interface.method({ inPipe: { drops: Pipe.bytes }, out: { box: Box } }),
  /** The same, of more than flows to a client that does not read. */
  Drain: Interface.method({ in: text, outPipe: { drops: Pipe.bytes }, out: { box: Box } })
}

export const IShelf = Interface.make("IShelf", {
  uuid: "0c9a7be4-54a4-4f0b-9a43-5a1f3f7d2e11",
  version: [1, 0],
  methods
})

/** An interface that has boxes of the same type. */
export const IOther = Interface.make("IOther", {
  uuid: "0c9a7be4-54a4-4f0b-9a43-5a1f3f7d2e12",
  version: [1, 0],
  methods: { Use: methods.Use, Open: methods.Open }
})

export type Held = ServerCall.Of<typeof IShelf, "Hold">

type Work = (call: ServerCall.ServerCall.Any, box: string, text: string) => Effect.Effect<
  string,
  Denied | Status.RpcFault
>

/** Managers, and what the test needs to see of them. */
export const makeShelf = Effect.gen(function* () {
  const held = yield* Queue.unbounded<Held>()
  /** What became of the boxes, in order: `closed` by a method, or `run down`. */
  const ends: Array<string> = []
  const ran: Array<string> = []
  const test: {
    work: Work
    make: Effect.Effect<void>
    open: Effect.Effect<unknown, Denied>
    close: Effect.Effect<void>
    out: unknown
    pour: Effect.Effect<void>
  } = {
    /** What a routine does with its box. */
    work: (_, box, text) => Effect.succeed(`${text} in ${box}`),
    /** What making a box does first. */
    make: Effect.void,
    /** What opening does when the box is there. */
    open: Effect.void,
    /** What the finalizer of a box does first. */
    close: Effect.void,
    /** What `Pass` gives instead of its box. */
    out: undefined,
    /** What `Pour` does, although it is cancelled. */
    pour: Effect.void
  }
  const box = (name: string) =>
    Effect.acquireRelease(
      Effect.as(Effect.suspend(() => test.make), name),
      (name, exit) =>
        Effect.andThen(
          Effect.suspend(() => test.close),
          Effect.sync(() => void ends.push(`${Exit.isSuccess(exit) ? "closed" : "run down"} ${name}`))
        ),
      { interruptible: true }
    )
  const boxes = ContextHandle.states<string>()(Box)
  const jars = ContextHandle.states<string>()(Jar)
  const open = (call: ServerCall.ServerCall.Any, name: string) =>
    Effect.map(boxes.open(call, box(name)), (box) => ({ box }))
  const use = (
    { box, text }: { readonly box: ContextHandle.ContextHandle<"Box">; readonly text: string },
    call: ServerCall.ServerCall.Any
  ) =>
    Effect.suspend(() => {
      ran.push(text)
      return Effect.flatMap(boxes.get(call, box), (name) => test.work(call, name, text))
    })
  const close = (handle: ContextHandle.ContextHandle<"Box">, call: ServerCall.ServerCall.Any) =>
    Effect.map(boxes.close(call, handle), (box) => ({ box }))

  const manager = Manager.make(IShelf, {
    Open: ({ text }, call) => Effect.tap(open(call, text), () => Effect.suspend(() => test.open)),
    OpenJar: ({ text }, call) => Effect.map(jars.open(call, box(text)), (jar) => ({ jar })),
    Use: use,
    Peek: (input, call) => use(input, call) as Effect.Effect<string, Status.RpcFault>,
    Look: (input, call) => use(input, call) as Effect.Effect<string, Status.RpcFault>,
    Hold: Manager.handOff(({ box }, call) => Effect.andThen(boxes.get(call, box), Queue.offer(held, call))),
    Move: ({ from, to }, call) =>
      Effect.map(
        Effect.all([boxes.get(call, from), boxes.get(call, to)]),
        ([from, to]) => {
          ran.push(`${from} to ${to}`)
          return `${from} to ${to}`
        }
      ),
    Close: ({ box }, call) => Effect.tap(close(box, call), () => Effect.suspend(() => test.open)),
    Toggle: ({ box }, call) => box === null ? open(call, "toggled") : close(box, call),
    Pass: ({ box }, call) => Effect.as(boxes.get(call, box), { box: (test.out ?? box) as typeof box }),
    Spill: ({ jar }, call) => Effect.asVoid(jars.get(call, jar)),
    Forget: ({ text }, call) => Effect.asVoid(open(call, text)),
    Pour: () => Effect.uninterruptible(Effect.suspend(() => test.pour)),
    Fill: (_, call) =>
      Effect.andThen(Stream.runDrain(Pipe.toStream(ServerCall.inPipe(call, "drops"))), open(call, "filled")),
    Drain: ({ text }, call) =>
      Stream.range(1, 3).pipe(
        Stream.map(() => new Uint8Array(200_000)),
        Stream.run(Pipe.toSink(ServerCall.outPipe(call, "drops"))),
        // Where the connection is read on first, it hears of what follows although it can't send.
        Effect.delay("1 milli"),
        Effect.andThen(open(call, text))
      )
  })
  const other = Manager.make(IOther, { Use: use, Open: ({ text }, call) => open(call, text) })
  return { boxes, ends, held, manager, other, ran, test }
})
