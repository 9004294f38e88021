/**
 * A host made of the public surface alone: it carries calls as text through two queues, as a network would.
 */
import { type Cause, Context, Effect, Exit, Fiber, Queue, Result, Schema, Scope, Tracer } from "effect"
import { Binding, type Channel, Interface, Server, Status } from "../mod.ts"
import type { Bind } from "./fixtures.ts"

// ----------------------------------------------------------------------------
// messages
// ----------------------------------------------------------------------------

interface Request {
  readonly type: "call"
  readonly id: number
  readonly interface: Interface.Interface.Identity
  readonly object: string | undefined
  readonly opnum: number
  readonly input: unknown
  readonly span: { readonly traceId: string; readonly spanId: string; readonly sampled: boolean } | undefined
  readonly context: { readonly [key: string]: unknown }
}

type ToServer = Request | { readonly type: "cancel" | "orphan"; readonly id: number }

type Told =
  | { readonly type: "value"; readonly value?: unknown }
  | { readonly type: "abort"; readonly code: number; readonly fields: object }
  | { readonly type: "failure"; readonly tag: keyof typeof errors; readonly fields: object }

type ToClient =
  | { readonly type: "reply"; readonly id: number; readonly outcome: Told }
  | { readonly type: "lost"; readonly id: number }

const errors = {
  RpcFault: Status.RpcFault,
  CallCancelled: Status.CallCancelled,
  ContextMismatch: Status.ContextMismatch,
  RpcTransportError: Status.RpcTransportError
}

const told = (outcome: Channel.Outcome, operation: Interface.Operation | undefined): Told => {
  if (outcome._tag === "Success") return { type: "value", value: outcome.value }
  const reason = outcome.cause.reasons[0]!
  if (reason._tag !== "Fail") return { type: "failure", tag: "RpcFault", fields: { code: 1726 } }
  const { _tag, ...fields } = { ...reason.error }
  const abort = operation && Interface.abortOf(operation.method, reason.error)
  return abort === undefined
    ? { type: "failure", tag: _tag as keyof typeof errors, fields }
    : { type: "abort", code: abort.code, fields }
}

const understood = (outcome: Told, { method }: Interface.Operation): Channel.Outcome => {
  switch (outcome.type) {
    case "value":
      return Exit.succeed(outcome.value)
    case "abort":
      return Exit.fail(
        Interface.abortFromCode(method, outcome.code, outcome.fields) ?? new Status.RpcFault({ code: outcome.code })
      )
    case "failure":
      return Exit.fail(new errors[outcome.tag](outcome.fields as never))
  }
}

// ----------------------------------------------------------------------------
// the server's side
// ----------------------------------------------------------------------------

class Arrived implements Channel.Incoming {
  readonly side: ServerSide
  readonly request: Request
  readonly origin: Channel.Origin
  operation: Interface.Operation | undefined = undefined

  constructor(side: ServerSide, request: Request) {
    this.side = side
    this.request = request
    this.origin = side.origin
  }

  get interface() {
    return this.request.interface
  }

  get object() {
    return this.request.object
  }

  get opnum() {
    return this.request.opnum
  }

  get input() {
    return this.request.input
  }

  get span() {
    const { span } = this.request
    return span && Tracer.externalSpan(span)
  }

  get context() {
    return this.side.references.reduce<Context.Context<never>>(
      (context, reference) =>
        reference.key in this.request.context
          ? Context.add(context, reference, this.request.context[reference.key])
          : context,
      Context.empty()
    )
  }

  decode(operation: Interface.Operation): Status.BadStubData | undefined {
    this.operation = operation
    const problem = problemOf(operation.method.in, this.input)
    return problem === undefined ? undefined : new Status.BadStubData({ detail: `the request was refused: ${problem}` })
  }

  accepted(remote: Channel.Remote): void {
    this.side.calls.set(this.request.id, remote)
  }

  reply(outcome: Channel.Outcome): ReturnType<Channel.Incoming["reply"]> {
    const problem = outcome._tag === "Success" && problemOf(this.operation!.method.out, outcome.value)
    if (problem) {
      this.answer(Exit.fail(new Status.RpcFault({ code: 1783 })))
      return new Status.BadStubData({ detail: `the reply was refused: ${problem}` })
    }
    const send = Effect.sync(() => this.answer(outcome))
    return this.side.pause === undefined ? this.answer(outcome) : Effect.andThen(this.side.pause, send)
  }

  handedOff(): Effect.Effect<void> {
    return this.side.pause ?? Effect.void
  }

  disconnected(): void {
    const { id } = this.request
    this.side.calls.delete(id)
    this.side.send({ type: "lost", id })
  }

  answer(outcome: Channel.Outcome): void {
    const { id } = this.request
    this.side.calls.delete(id)
    this.side.send({ type: "reply", id, outcome: told(outcome, this.operation) })
  }
}

const problemOf = (schema: Interface.Method.Any["in"], value: unknown): string | undefined => {
  const decoded = Schema.decodeUnknownResult(Schema.toType(schema))(value)
  return Result.isFailure(decoded) ? decoded.failure.message : undefined
}

interface ServerSide {
  readonly origin: Channel.Origin
  readonly references: ReadonlyArray<Context.Reference<any>>
  readonly calls: Map<number, Channel.Remote>
  /** The time that a reply takes; `undefined` where it leaves at once. */
  readonly pause: Effect.Effect<void> | undefined
  readonly send: (message: ToClient) => void
}

const receive = (server: Server.Server, side: ServerSide, message: ToServer): Effect.Effect<void, unknown> | void => {
  if (message.type !== "call") {
    const remote = side.calls.get(message.id)
    if (message.type === "cancel") return remote?.cancel() ?? undefined
    side.calls.delete(message.id)
    return remote?.orphan()
  }
  const call = new Arrived(side, message)
  const refusal = Server.accept(server, call)
  if (refusal === undefined) return
  const failure = refusal._tag === "BadStubData" ? new Status.RpcFault({ code: 1783, didNotExecute: true }) : refusal
  call.answer(Exit.fail(failure))
}

// ----------------------------------------------------------------------------
// the client's side
// ----------------------------------------------------------------------------

class Client implements Channel.Channel {
  readonly callObjects = true
  readonly address = "queue"
  readonly references: ReadonlyArray<Context.Reference<any>>
  readonly target: Pick<Request, "interface" | "object">
  readonly pause: Effect.Effect<void> | undefined
  readonly send: (message: ToServer) => void
  readonly pending = new Map<number, Channel.Outgoing>()
  private ids = 0
  open = true

  constructor(fields: Pick<Client, "references" | "target" | "pause" | "send">) {
    this.references = fields.references
    this.target = fields.target
    this.pause = fields.pause
    this.send = fields.send
  }

  issue(call: Channel.Outgoing, input: unknown): Effect.Effect<void, Status.RpcTransportError> | undefined {
    if (!this.open) return Effect.fail(new Status.RpcTransportError({ status: 1722, detail: "the binding was closed" }))
    const send = () => {
      const id = ++this.ids
      const cancel = () => this.send({ type: "cancel", id })
      call.remote = {
        dispatched: true,
        cancelDisabled: false,
        cancel: () => this.pause === undefined ? cancel() : Effect.andThen(this.pause, Effect.sync(cancel)),
        discard: () => void this.pending.delete(id),
        goOn: () => void this.pending.delete(id),
        orphan: () => {
          this.pending.delete(id)
          this.send({ type: "orphan", id })
        }
      }
      this.pending.set(id, call)
      const { opnum } = call.operation
      const span = call.span && { traceId: call.span.traceId, spanId: call.span.spanId, sampled: call.span.sampled }
      const context = Object.fromEntries(call.context.mapUnsafe)
      this.send({ type: "call", id, ...this.target, opnum, input, span, context })
    }
    if (this.pause === undefined) return void send()
    return Effect.andThen(this.pause, Effect.sync(send))
  }

  receive(message: ToClient): void {
    const call = this.pending.get(message.id)
    this.pending.delete(message.id)
    call?.reply(message.type === "lost" ? lost() : understood(message.outcome, call.operation))
  }
}

const lost = (): Channel.Outcome =>
  Exit.fail(
    new Status.RpcTransportError({ status: 1726, detail: "the client was closed while the call was in progress" })
  )

// ----------------------------------------------------------------------------
// both
// ----------------------------------------------------------------------------

export interface HostOptions {
  /** Makes requests, cancels, replies and announcements of a hand-off effects, which take so long. By default they are immediate. */
  readonly pause?: Effect.Effect<void>
  readonly caller?: Channel.Caller
  readonly peer?: string
  readonly references?: ReadonlyArray<Context.Reference<any>>
}

/** A queue of messages as text, and a fiber that delivers them in order. */
const makeLine = <Message>(deliver: (message: Message) => Effect.Effect<void, unknown> | void) =>
  Effect.gen(function* () {
    const queue = yield* Queue.make<string, Cause.Done>()
    const delivering = yield* Effect.forkDetach(
      Queue.take(queue).pipe(
        Effect.flatMap((text) => deliver(JSON.parse(text) as Message) ?? Effect.void),
        Effect.forever,
        Effect.exit
      )
    )
    return {
      send: (message: Message) => void Queue.offerUnsafe(queue, JSON.stringify(message)),
      /** What was sent before still arrives. */
      close: Effect.andThen(Queue.end(queue), Fiber.await(delivering))
    }
  })

/** Binds a client to a server over two queues. */
export const hostOf = ({ caller, pause, peer, references = [] }: HostOptions = {}): Bind => (server, iface, options) =>
  Effect.gen(function* () {
    const object = options?.object ?? null
    if (Server.offers(server, iface, { object }) === undefined) {
      const { name, uuid, version } = iface
      return yield* new Status.NoInterface({ interface: `${name} ${version.join(".")}`, uuid, detail: "not offered" })
    }
    const connected = yield* Scope.make()
    const origin = yield* Scope.provide(
      Server.client(server, { caller: caller ?? { name: "alice", level: "connect" }, peer: peer ?? "queue:1" }),
      connected
    )
    const toClient = yield* makeLine<ToClient>((message) => client.receive(message))
    const side: ServerSide = { origin, references, calls: new Map(), pause, send: toClient.send }
    const toServer = yield* makeLine<ToServer>((message) => receive(server, side, message))
    const client = new Client({
      references,
      target: { interface: { uuid: iface.uuid, version: iface.version }, object: options?.object },
      pause,
      send: toServer.send
    })
    yield* Effect.addFinalizer(() =>
      Effect.gen(function* () {
        client.open = false
        yield* toServer.close
        yield* Scope.close(connected, Exit.void)
        yield* toClient.close
      })
    )
    return yield* Binding.make(iface, client, options)
  })
