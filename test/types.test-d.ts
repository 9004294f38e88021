// Compiled by the type check of the tests; it never runs.
import { Context, type Duration, Effect, Layer, type Option, Queue, Schema, type Scope } from "effect"
import {
  Binding,
  Call,
  type Channel,
  ContextHandle,
  Interface,
  Manager,
  Server,
  ServerCall,
  type Status,
  Synchronize
} from "../mod.ts"

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
type Same<A, B> = [A] extends [B] ? [B] extends [A] ? true : false : false

/** Accepts only the literal `true` that its type argument stands for. */
declare const check: <T extends true>() => T

type Success<T> = T extends Effect.Effect<infer A, infer _E, infer _R> ? A : never
type Failure<T> = T extends Effect.Effect<infer _A, infer E, infer _R> ? E : never
type Needs<T> = T extends Effect.Effect<infer _A, infer _E, infer R> ? R : never

class Denied extends Schema.TaggedError<Denied>()("Denied", { who: Schema.String }) {}
class EndOfFile extends Schema.TaggedError<EndOfFile>()("EndOfFile", {}) {}

const methods = {
  Read: Interface.method({
    in: { count: Schema.Int },
    out: { data: Schema.String },
    aborts: [Interface.abort(38, EndOfFile)]
  }),
  Peek: Interface.method({
    in: { count: Schema.Int },
    out: { data: Schema.String },
    aborts: [Interface.abort(38, EndOfFile)]
  }),
  Both: Interface.method({
    in: Schema.String,
    out: Schema.Int,
    aborts: [Interface.abort(38, EndOfFile), Interface.abort(5000, Denied)]
  }),
  Rewind: Interface.method({}),
  Note: Interface.method({ in: Schema.String, maybe: true })
}
const uuid = "4f2c8ea6-6a3d-4f0e-9d1e-6a4f0b1d2c3e"
const Stream = Interface.make("Stream", { uuid, version: [1, 0], methods })
const Other = Interface.make("Other", { uuid, version: [1, 0], methods })

declare const stream: Binding.Binding<typeof Stream>
declare const call: Call.Call<typeof Stream>
declare const read: Call.Pending<typeof Stream, "Read">
declare const peek: Call.Pending<typeof Stream, "Peek">
declare const both: Call.Pending<typeof Stream, "Both">
declare const rewind: Call.Pending<typeof Stream, "Rewind">
declare const note: Call.Pending<typeof Stream, "Note">
declare const otherRead: Call.Pending<typeof Other, "Read">
declare const otherCall: Call.Call<typeof Other>
declare const server: Server.Server

// -- the evidence of a call --------------------------------------------------------------------------------------------

const begun = Call.begin(call, "Read", { count: 1 })
check<Equal<Success<typeof begun>, Call.Pending<typeof Stream, "Read">>>()
check<
  Same<
    Failure<typeof begun>,
    Status.CallPending | Status.InvalidAsyncHandle | Status.BadStubData | Status.RpcFault | Status.RpcTransportError
  >
>()
check<Same<Needs<typeof begun>, never>>()

declare const takesRead: (pending: Call.Pending<typeof Stream, "Read">) => void
takesRead(read)
// @ts-expect-error evidence of another method of the same shape
takesRead(peek)
// @ts-expect-error evidence of the same method of an interface of the same shape but another name
takesRead(otherRead)
// @ts-expect-error a call object of an interface of the same shape but another name
Call.begin<typeof Stream, "Read">(otherCall, "Read", { count: 1 })
// @ts-expect-error a binding of an interface of the same shape but another name
Call.make<typeof Other>(stream)
// @ts-expect-error evidence can't be made up
takesRead({})

declare const either: "Read" | "Peek"
// @ts-expect-error a union of methods is no method
Call.begin(call, either, { count: 1 })
// @ts-expect-error a union of methods is no method
Call.invoke(stream, either, { count: 1 })
// @ts-expect-error a union of methods is no method, data-last
Call.begin(either, { count: 1 })
// @ts-expect-error a string is no method
Call.begin(call, "Read" as string, { count: 1 })
// @ts-expect-error no such method
Call.begin(call, "Write", { count: 1 })
// @ts-expect-error no such method
Call.invoke(stream, "Write", { count: 1 })

const found = Call.pending(call)
check<Same<Effect.Success<typeof found>, Option.Option<Call.Pending.Of<typeof Stream>>>>()
check<Same<Failure<typeof found>, Status.InvalidAsyncHandle>>()

// -- evidence of several methods ------------------------------------------------------------------------------------------

check<Equal<typeof read.method, "Read">>()
check<Equal<typeof read.interface, typeof Stream>>()
declare const readOrBoth: typeof read | typeof both
const finishedEither = Call.finish(readOrBoth)
check<Equal<Success<typeof finishedEither>, number | { readonly data: string }>>()
check<Same<Failure<typeof finishedEither>, EndOfFile | Denied | Transport | Status.CallPending | Refused>>()
const joinedEither = Call.join(readOrBoth)
check<Same<Failure<typeof joinedEither>, EndOfFile | Denied | Transport | Refused>>()
Call.wait(readOrBoth)
Call.cancel(readOrBoth)
if (readOrBoth.method === "Read") takesRead(readOrBoth)
const firstOfTwo = Effect.flatMap(Synchronize.waitAny([read, both]), (pending) => Call.finish(pending))
check<Equal<Success<typeof firstOfTwo>, number | { readonly data: string }>>()
declare const shared: Queue.Queue<Call.Completion<string, typeof read | typeof both>>
Call.notify(read, shared, "a")
Call.notify(both, shared, "b")
// @ts-expect-error a queue for evidence of two methods takes no third
Call.notify(rewind, shared, "c")
const taken = Effect.flatMap(
  Queue.take(shared),
  ({ pending }) =>
    pending.method === "Both" ? Call.join(pending) : Effect.map(Call.join(pending), ({ data }) => data.length)
)
check<Equal<Success<typeof taken>, number>>()
declare const unknown: unknown
if (Call.isPending(unknown)) check<Equal<typeof unknown, Call.Pending.Any>>()
if (Call.isCall(unknown)) check<Equal<typeof unknown, Call.Call.Any>>()

// -- any interface -----------------------------------------------------------------------------------------------------

export const logged = <I extends Interface.Interface.Any, K extends Interface.Interface.MethodName<I>>(
  binding: Binding.Binding<I>,
  method: K,
  ...args: Call.Args<I, K>
) => Effect.tap(Call.invoke(binding, method, ...args), () => Effect.log(method))
const loggedBoth = logged(stream, "Both", "a")
check<Equal<Success<typeof loggedBoth>, number>>()
check<Same<Failure<typeof loggedBoth>, EndOfFile | Denied | Transport | Status.BadStubData>>()
export const begunAny = <I extends Interface.Interface.Any, K extends Interface.Interface.MethodName<I, "any">>(
  call: Call.Call<I>,
  method: K,
  ...args: Call.Args<I, K>
) => Effect.flatMap(Call.begin(call, method, ...args), (pending) => Call.join(pending))
const begunAnyRead = begunAny(call, "Read", { count: 1 })
check<Equal<Success<typeof begunAnyRead>, { readonly data: string }>>()
export const startedAny = <I extends Interface.Interface.Any, K extends Interface.Interface.MethodName<I>>(
  binding: Binding.Binding<I>,
  method: K,
  ...args: Call.Args<I, K>
) => Call.start(binding, method, ...args)
// @ts-expect-error an input that does not fit
logged(stream, "Both", 1)
// @ts-expect-error no such method
logged(stream, "Write", 1)

// -- the client object -------------------------------------------------------------------------------------------------

const client = Call.client(stream)
check<Equal<typeof client, Call.Client<typeof Stream>>>()
const called = client.Both("a", { cancelTimeout: undefined })
check<Equal<Success<typeof called>, number>>()
check<Same<Failure<typeof called>, EndOfFile | Denied | Transport | Status.BadStubData>>()
check<Same<Needs<typeof called>, never>>()
client.Rewind()
client.Rewind({ cancelTimeout: 1 })
const clientBegun = client.Read.begin({ count: 1 })
check<Equal<Success<typeof clientBegun>, Call.Pending<typeof Stream, "Read">>>()
const started = Call.start(stream, "Read", { count: 1 })
check<Equal<Success<typeof started>, Call.Pending<typeof Stream, "Read">>>()
check<
  Same<
    Failure<typeof started>,
    Status.NoInterface | Status.InvalidAsyncHandle | Status.BadStubData | Status.RpcFault | Status.RpcTransportError
  >
>()
check<Same<Failure<typeof clientBegun>, Failure<typeof started>>>()
check<Same<Needs<typeof started>, Scope.Scope>>()
check<Same<Needs<typeof clientBegun>, Scope.Scope>>()
// @ts-expect-error no such method
client.Write()
// @ts-expect-error the input must fit
client.Both(1)
// @ts-expect-error a method without pipes is no stream
client.Both.stream
// @ts-expect-error a union of methods is no method
Call.start(stream, either, { count: 1 })
const Thenable = Interface.make("Thenable", { uuid, version: [1, 0], methods: { then: Interface.method({}) } })
declare const thenable: Binding.Binding<typeof Thenable>
check<Equal<Call.Client<typeof Thenable>["then"], undefined>>()
Call.invoke(thenable, "then")

// -- release -----------------------------------------------------------------------------------------------------------

const released = Call.release(call)
check<Equal<typeof released, Effect.Effect<void>>>()
const stopped = Call.release(read, { server: "stop" })
check<Equal<typeof stopped, Effect.Effect<void>>>()
const goingOn = Call.release(call, { server: "goOn" })
check<Equal<typeof goingOn, Effect.Effect<void, Status.PipeDisciplineError>>>()
const goingOnLast = call.pipe(Call.release({ server: "goOn" }))
check<Equal<typeof goingOnLast, Effect.Effect<void, Status.PipeDisciplineError>>>()
// @ts-expect-error the server stops or goes on
Call.release(call, { server: "wait" })

// -- input -------------------------------------------------------------------------------------------------------------

Call.begin(call, "Rewind")
// @ts-expect-error a method without parameters takes no input
Call.begin(call, "Rewind", {})
// @ts-expect-error a method without parameters takes no input, not even undefined
Call.begin(call, "Rewind", undefined)
// @ts-expect-error a method with parameters needs its input
Call.begin(call, "Read")
// @ts-expect-error the input must fit
Call.begin(call, "Read", { count: "1" })
// @ts-expect-error the input must fit
Call.begin(call, "Read", {})
// @ts-expect-error no more than one input
Call.begin(call, "Read", { count: 1 }, 2)

Call.invoke(stream, "Rewind")
Call.invoke(stream, "Rewind", { cancelTimeout: "1 second" })
Call.invoke(stream, "Read", { count: 1 })
Call.invoke(stream, "Read", { count: 1 }, { cancelTimeout: "1 second" })
// @ts-expect-error a method with parameters needs its input
Call.invoke(stream, "Read")
// @ts-expect-error options do not stand in for the input
Call.invoke(stream, "Read", { cancelTimeout: "1 second" })
// @ts-expect-error a method without parameters takes no input
Call.invoke(stream, "Rewind", { count: 1 })
// @ts-expect-error the input must fit
Call.invoke(stream, "Both", 1)

// -- results -----------------------------------------------------------------------------------------------------------

type Transport = Status.RpcFault | Status.CallCancelled | Status.RpcTransportError
type Refused = Status.CallComplete | Status.InvalidAsyncHandle

const finished = Call.finish(read)
check<Equal<Success<typeof finished>, { readonly data: string }>>()
check<Same<Failure<typeof finished>, EndOfFile | Transport | Status.CallPending | Refused>>()

const joined = Call.join(read)
check<Equal<Success<typeof joined>, { readonly data: string }>>()
check<Same<Failure<typeof joined>, EndOfFile | Transport | Refused>>()

const finishedBoth = Call.finish(both)
check<Equal<Success<typeof finishedBoth>, number>>()
check<Same<Failure<typeof finishedBoth>, EndOfFile | Denied | Transport | Status.CallPending | Refused>>()

const finishedRewind = Call.finish(rewind)
check<Equal<Success<typeof finishedRewind>, void>>()
check<Same<Failure<typeof finishedRewind>, Transport | Status.CallPending | Refused>>()

const finishedNote = Call.join(note)
check<Equal<Success<typeof finishedNote>, void>>()
check<Same<Failure<typeof finishedNote>, Transport | Refused>>()

const invoked = Call.invoke(stream, "Both", "a")
check<Equal<Success<typeof invoked>, number>>()
check<Same<Failure<typeof invoked>, EndOfFile | Denied | Transport | Status.BadStubData>>()
check<Same<Needs<typeof invoked>, never>>()

const cancelled = Call.cancel(read)
check<Equal<Success<typeof cancelled>, void>>()
check<
  Same<Failure<typeof cancelled>, Refused | Status.CallCancelled | Status.CancelDisabled | Status.RpcTransportError>
>()

const made = Call.make(stream)
check<Equal<Success<typeof made>, Call.Call<typeof Stream>>>()
check<Same<Failure<typeof made>, Status.NoInterface>>()
check<Same<Needs<typeof made>, Scope.Scope>>()

declare const maybeTimeout: number | undefined
Call.cancel(read, { timeout: maybeTimeout })
Call.invoke(stream, "Rewind", { cancelTimeout: maybeTimeout })

const state = Call.state(call)
check<Same<Failure<typeof state>, Status.InvalidAsyncHandle>>()

// -- waiting -----------------------------------------------------------------------------------------------------------

declare const timeout: Duration.Input
declare const event: Synchronize.Synchronize

const waited = Call.wait(read)
check<Same<Failure<typeof waited>, Refused>>()
const waitedWithTimeout = Call.wait(read, timeout)
check<Same<Failure<typeof waitedWithTimeout>, Refused | Status.WaitTimeout>>()
const waitedForEvent = Synchronize.wait(event)
check<Same<Failure<typeof waitedForEvent>, never>>()
const waitedForEventWithTimeout = Synchronize.wait(event, timeout)
check<Same<Failure<typeof waitedForEventWithTimeout>, Status.WaitTimeout>>()
// @ts-expect-error only the runtime signals a call
Synchronize.signal(read)
// @ts-expect-error only the runtime resets a call
Synchronize.reset(read)

declare const list: ReadonlyArray<Synchronize.Synchronize>
const anyOfTwo = Synchronize.waitAny([event, event])
check<Same<Failure<typeof anyOfTwo>, never>>()
const anyOfList = Synchronize.waitAny(list)
check<Same<Failure<typeof anyOfList>, Status.NoSync>>()
const anyOfListWithTimeout = Synchronize.waitAny(list, timeout)
check<Same<Failure<typeof anyOfListWithTimeout>, Status.NoSync | Status.WaitTimeout>>()
const anyOfNone = Synchronize.waitAny([])
check<Same<Failure<typeof anyOfNone>, Status.NoSync>>()
const anyMixed = Synchronize.waitAny([read, event])
check<Same<Failure<typeof anyMixed>, Refused>>()
check<Same<Success<typeof anyMixed>, Call.Pending<typeof Stream, "Read"> | Synchronize.Synchronize>>()
const anyOfTwoMethods = Synchronize.waitAny([read, rewind], timeout)
check<
  Same<Success<typeof anyOfTwoMethods>, Call.Pending<typeof Stream, "Read"> | Call.Pending<typeof Stream, "Rewind">>
>()
check<Same<Failure<typeof anyOfTwoMethods>, Refused | Status.WaitTimeout>>()
// @ts-expect-error -- how a wait is told of a signal is no part of the type
read.pollUnsafe
const allOfTwo = Synchronize.waitAll([event, event], timeout)
check<Same<Failure<typeof allOfTwo>, Status.WaitTimeout>>()
const allOfList = Synchronize.waitAll(list)
check<Same<Failure<typeof allOfList>, Status.NoSync>>()
const allMixed = Synchronize.waitAll([read, event])
check<Same<Failure<typeof allMixed>, Refused>>()

declare const container: Synchronize.Container<Synchronize.Synchronize>
const next = Synchronize.waitMultiple(container)
check<Equal<Success<typeof next>, Synchronize.Synchronize>>()
check<Same<Failure<typeof next>, Status.NoSync>>()
const nextWithTimeout = Synchronize.waitMultiple(container, timeout)
check<Same<Failure<typeof nextWithTimeout>, Status.NoSync | Status.WaitTimeout>>()
// @ts-expect-error a container of events takes no call
Synchronize.add(container, read)

declare const completions: Queue.Queue<Call.Completion<string, typeof read>>
Call.notify(read, completions, "a")
// @ts-expect-error a queue for the evidence of one method takes no other
Call.notify(peek, completions, "a")
// @ts-expect-error the tag must fit
Call.notify(read, completions, 1)

// -- data-last ---------------------------------------------------------------------------------------------------------

const begunLast = call.pipe(Call.begin("Read", { count: 1 }))
check<Equal<Success<typeof begunLast>, Call.Pending<typeof Stream, "Read">>>()
const begunRewindLast = call.pipe(Call.begin("Rewind"))
check<Equal<Success<typeof begunRewindLast>, Call.Pending<typeof Stream, "Rewind">>>()
// @ts-expect-error data-last: the input must fit
call.pipe(Call.begin("Read", { count: "1" }))
// @ts-expect-error data-last: a method with parameters needs its input
call.pipe(Call.begin("Read"))
// @ts-expect-error data-last: a method without parameters takes none
call.pipe(Call.begin("Rewind", 1))
// @ts-expect-error data-last: no such method
call.pipe(Call.begin("Write", { count: 1 }))

const invokedLast = stream.pipe(Call.invoke("Both", "a"))
check<Equal<typeof invokedLast, typeof invoked>>()
const invokedLastWithOptions = stream.pipe(Call.invoke("Both", "a", { cancelTimeout: 1 }))
check<Equal<typeof invokedLastWithOptions, typeof invoked>>()
const startedLast = stream.pipe(Call.start("Read", { count: 1 }))
check<Equal<typeof startedLast, typeof started>>()
// @ts-expect-error data-last: the input must fit
stream.pipe(Call.invoke("Both", 1))
// @ts-expect-error data-last: no such method
stream.pipe(Call.invoke("Write"))

const waitedLast = read.pipe(Call.wait())
check<Same<Failure<typeof waitedLast>, Refused>>()
const waitedLastWithTimeout = read.pipe(Call.wait(timeout))
check<Same<Failure<typeof waitedLastWithTimeout>, Refused | Status.WaitTimeout>>()
const cancelledLast = read.pipe(Call.cancel({ timeout: 0 }))
check<Same<Failure<typeof cancelledLast>, Failure<typeof cancelled>>>()
const eventLast = event.pipe(Synchronize.wait())
check<Same<Failure<typeof eventLast>, never>>()
const eventLastWithTimeout = event.pipe(Synchronize.wait(timeout))
check<Same<Failure<typeof eventLastWithTimeout>, Status.WaitTimeout>>()
const onCompleteLast = read.pipe(Call.onComplete(Effect.void))
check<Same<Failure<typeof onCompleteLast>, Refused>>()
const notifyLast = read.pipe(Call.notify(completions, "a"))
check<Same<Failure<typeof notifyLast>, Refused>>()
const joinedLast = read.pipe(Call.join)
check<Equal<Success<typeof joinedLast>, { readonly data: string }>>()

// -- descriptions ------------------------------------------------------------------------------------------------------

// @ts-expect-error a maybe method has no out parameters
Interface.method({ maybe: true, out: Schema.String })
// @ts-expect-error a maybe method has no aborts
Interface.method({ maybe: true, aborts: [Interface.abort(38, EndOfFile)] })
// @ts-expect-error an abort is a class of tagged errors
Interface.abort(38, Error)
// @ts-expect-error a version has two parts
Interface.make("Short", { uuid, version: [1], methods: {} })

// -- managers ----------------------------------------------------------------------------------------------------------

class Disk extends Context.Service<Disk, { readonly read: (count: number) => Effect.Effect<string> }>()("Disk") {}
class Printer
  extends Context.Service<Printer, { readonly print: (text: string) => Effect.Effect<void> }>()("Printer") {}

const routines = {
  Read: ({ count }: { readonly count: number }) =>
    Effect.flatMap(Disk, (disk) => Effect.map(disk.read(count), (data) => ({ data }))),
  Peek: () => Effect.fail(new EndOfFile()),
  Both: (text: string) => Effect.succeed(text.length),
  Rewind: () => Effect.void,
  Note: () => Effect.void
}

const manager = Manager.make(Stream, routines)
check<Equal<typeof manager, Manager.Manager<typeof Stream, Disk>>>()

Manager.make(Stream, {
  ...routines,
  Both: (text, serverCall) => {
    check<Equal<typeof text, string>>()
    check<Equal<typeof serverCall, ServerCall.ServerCall<typeof methods.Both>>>()
    return Effect.succeed(1)
  }
})
// @ts-expect-error an error that the method does not declare
Manager.make(Stream, { ...routines, Read: () => Effect.fail(new Denied({ who: "me" })) })
// @ts-expect-error an error that is not tagged
Manager.make(Stream, { ...routines, Read: () => Effect.fail("no") })
// @ts-expect-error a method that declares no aborts fails with RpcFault or not at all
Manager.make(Stream, { ...routines, Rewind: () => Effect.fail(new EndOfFile()) })
// @ts-expect-error a maybe method has no aborts
Manager.make(Stream, { ...routines, Note: () => Effect.fail(new EndOfFile()) })
declare const fault: Status.RpcFault
Manager.make(Stream, { ...routines, Rewind: () => Effect.fail(fault) })
// @ts-expect-error the out parameters must fit
Manager.make(Stream, { ...routines, Both: () => Effect.succeed("1") })
// @ts-expect-error the out parameters must be there
Manager.make(Stream, { ...routines, Both: () => Effect.void })
// @ts-expect-error a routine that no method asks for
Manager.make(Stream, { ...routines, Write: () => Effect.void })
// @ts-expect-error a method without a routine
Manager.make(Stream, { Read: routines.Read, Both: routines.Both, Rewind: routines.Rewind, Note: routines.Note })
// @ts-expect-error cancellation of a method that is not there
Manager.make(Stream, routines, { cancellation: { Write: "disabled" } })

const handedOff = Manager.make(Stream, {
  ...routines,
  Read: Manager.handOff((_input, serverCall) =>
    Effect.flatMap(
      Printer,
      (printer) =>
        Effect.andThen(printer.print("a"), ServerCall.complete(serverCall, { data: "a" }).pipe(Effect.ignore))
    )
  )
})
check<Equal<typeof handedOff, Manager.Manager<typeof Stream, Printer>>>()
Manager.make(Stream, {
  ...routines,
  // @ts-expect-error a hand-off routine fails with declared aborts only
  Read: Manager.handOff(() => Effect.fail(new Denied({ who: "me" })))
})

const printing = Manager.make(Other, { ...routines, Read: () => Effect.as(Printer, { data: "" }) })
const twoManagers = Server.make([manager, printing])
check<Same<Needs<typeof twoManagers>, Disk | Printer | Scope.Scope>>()
check<Same<Failure<typeof twoManagers>, never>>()

const provided = manager.pipe(
  Manager.middleware((routine) => Effect.provideService(routine, Disk, { read: () => Effect.succeed("") }))
)
check<Equal<typeof provided, Manager.Manager<typeof Stream, never>>>()
const guarded = manager.pipe(
  Manager.middleware((routine, serverCall) => ServerCall.peer(serverCall) === "local" ? routine : Effect.fail(fault))
)
check<Equal<typeof guarded, Manager.Manager<typeof Stream, Disk>>>()
// @ts-expect-error a middleware fails with RpcFault or an abort of the interface
manager.pipe(Manager.middleware(() => Effect.fail(new Error("no"))))

const local = Binding.local(server, Stream)
check<Equal<Success<typeof local>, Binding.Binding<typeof Stream>>>()
check<Same<Failure<typeof local>, Status.NoInterface>>()
check<Same<Needs<typeof local>, Scope.Scope>>()

const Files = Binding.Service("Files", Stream)
const ofContext = Effect.flatMap(Files, (files) => Call.invoke(files, "Both", "a"))
check<Equal<Success<typeof ofContext>, number>>()
const OtherFiles = Binding.Service("Other files", Stream)
declare const needsFiles: Effect.Effect<void, never, Binding.Bound<"Files", typeof Stream>>
const providedOther = Effect.provide(needsFiles, OtherFiles.local(server))
check<Same<Needs<typeof providedOther>, Binding.Bound<"Files", typeof Stream>>>()
const providedFiles = Effect.provide(needsFiles, Files.local(server))
check<Same<Needs<typeof providedFiles>, never>>()
check<Same<Failure<typeof providedFiles>, Status.NoInterface>>()

// -- the server's call -------------------------------------------------------------------------------------------------

declare const serverRead: ServerCall.ServerCall<typeof methods.Read>
declare const serverRewind: ServerCall.ServerCall<typeof methods.Rewind>

const completed = ServerCall.complete(serverRead, { data: "a" })
check<Same<Failure<typeof completed>, Status.InvalidAsyncHandle | Status.BadStubData | Status.RpcTransportError>>()
// @ts-expect-error the out parameters must fit
ServerCall.complete(serverRead, { data: 1 })
// @ts-expect-error the out parameters must be there
ServerCall.complete(serverRead)
ServerCall.complete(serverRewind)
// @ts-expect-error a method without results takes none
ServerCall.complete(serverRewind, 1)

const aborted = ServerCall.abort(serverRead, new EndOfFile())
check<Same<Failure<typeof aborted>, Status.InvalidAsyncHandle | Status.RpcTransportError>>()
ServerCall.abort(serverRead, fault)
// @ts-expect-error an abort that the method does not declare
ServerCall.abort(serverRead, new Denied({ who: "me" }))
// @ts-expect-error a method that declares no aborts
ServerCall.abort(serverRewind, new EndOfFile())

const ran = ServerCall.run(serverRead, Effect.as(Disk, { data: "a" }))
check<Same<Failure<typeof ran>, Status.InvalidAsyncHandle | Status.RpcTransportError>>()
check<Same<Needs<typeof ran>, Disk>>()
// @ts-expect-error the exit is the reply, so it must fit
ServerCall.run(serverRead, Effect.succeed(1))
// @ts-expect-error the exit is the reply, so it must be a declared abort
ServerCall.run(serverRead, Effect.fail(new Denied({ who: "me" })))

// -- context handles ---------------------------------------------------------------------------------------------------

const Cursor = ContextHandle.make("Cursor")
const Printout = ContextHandle.make("Printout")
type Cursor = ContextHandle.ContextHandle<"Cursor">

const Table = Interface.make("Table", {
  uuid,
  version: [1, 0],
  methods: {
    Open: Interface.method({ in: { name: Schema.String }, out: { cursor: Cursor } }),
    Fetch: Interface.method({
      in: { cursor: ContextHandle.shared(Cursor), count: Schema.Int },
      out: { rows: Schema.Array(Schema.String) },
      aborts: [Interface.abort(38, EndOfFile)]
    }),
    Close: Interface.method({ in: { cursor: Cursor }, out: { cursor: ContextHandle.nullable(Cursor) } }),
    Next: Interface.method({ in: { cursor: ContextHandle.nullable(Cursor) }, out: { cursor: Cursor } }),
    Count: Interface.method({ in: { any: Schema.Any }, out: Schema.Int })
  }
})

declare const table: Binding.Binding<typeof Table>
declare const tableCall: Call.Call<typeof Table>
declare const fetch: Call.Pending<typeof Table, "Fetch">
declare const cursor: Cursor
declare const printout: ContextHandle.ContextHandle<"Printout">

check<Same<typeof Cursor.Type, Cursor>>()
check<Same<Interface.Method.Out<(typeof Table)["methods"]["Close"]>, { readonly cursor: Cursor | null }>>()

// Only where a method takes a handle can it fail for one.
const fetched = Call.invoke(table, "Fetch", { cursor, count: 1 })
check<
  Same<
    Failure<typeof fetched>,
    EndOfFile | Transport | Status.ContextMismatch | Status.NullContext | Status.BadStubData
  >
>()
const finishedFetch = Call.finish(fetch)
check<
  Same<Failure<typeof finishedFetch>, EndOfFile | Transport | Status.ContextMismatch | Status.CallPending | Refused>
>()
const joinedFetch = Call.join(fetch)
check<Same<Failure<typeof joinedFetch>, EndOfFile | Transport | Status.ContextMismatch | Refused>>()
const begunFetch = Call.begin(tableCall, "Fetch", { cursor, count: 1 })
type BeginRefused =
  | Status.CallPending
  | Status.InvalidAsyncHandle
  | Status.BadStubData
  | Status.NullContext
  | Status.RpcFault
  | Status.RpcTransportError
check<Same<Failure<typeof begunFetch>, BeginRefused>>()
const begunFetchLast = tableCall.pipe(Call.begin("Fetch", { cursor, count: 1 }))
check<Same<Failure<typeof begunFetchLast>, BeginRefused>>()
const opened = Call.invoke(table, "Open", { name: "a" })
check<Same<Failure<typeof opened>, Transport | Status.BadStubData>>()
const counted = Call.invoke(table, "Count", { any: cursor })
check<Same<Failure<typeof counted>, Transport | Status.BadStubData>>()

Call.invoke(table, "Next", { cursor: null })
// @ts-expect-error null where a handle is needed
Call.invoke(table, "Fetch", { cursor: null, count: 1 })
// @ts-expect-error a handle of another type
Call.invoke(table, "Fetch", { cursor: printout, count: 1 })
// @ts-expect-error a handle can't be made up
Call.invoke(table, "Fetch", { cursor: {}, count: 1 })
// @ts-expect-error a null handle has nothing to destroy
ContextHandle.destroy(null)

declare const fetchCall: ServerCall.Of<typeof Table, "Fetch">
const cursors = ContextHandle.states<{ readonly rows: Iterator<string> }>()(Cursor)
declare const acquire: Effect.Effect<{ readonly rows: Iterator<string> }, EndOfFile, Disk | Scope.Scope>
const opening = cursors.open(fetchCall, acquire)
check<Equal<Success<typeof opening>, Cursor>>()
check<Same<Failure<typeof opening>, EndOfFile | Status.RpcFault>>()
check<Same<Needs<typeof opening>, Disk>>()
const got = cursors.get(fetchCall, cursor)
check<Equal<Success<typeof got>, { readonly rows: Iterator<string> }>>()
check<Same<Failure<typeof got>, Status.RpcFault>>()
const closed = cursors.close(fetchCall, cursor)
check<Equal<Success<typeof closed>, null>>()
check<Same<Failure<typeof closed>, Status.RpcFault>>()
// @ts-expect-error a handle of another type
cursors.get(fetchCall, printout)
// @ts-expect-error another state
cursors.open(fetchCall, Effect.succeed({ rows: 1 }))
// @ts-expect-error a type of handles is not any schema
ContextHandle.states<string>()(Schema.String)
// @ts-expect-error a nullable handle is nullable already
ContextHandle.nullable(ContextHandle.nullable(Printout))

// ----------------------------------------------------------------------------
// layers
// ----------------------------------------------------------------------------

const IAudit = Interface.make("IAudit", { methods: { Rest: Interface.method({}) } })
const IFiles = Interface.make("IFiles", { methods: { Rest: Interface.method({}) } })
const auditing = Manager.layer(IAudit, Effect.succeed({ Rest: () => Effect.void }))
const filing = Manager.layer(IFiles, Effect.succeed({ Rest: () => Effect.void }))
const serving = Server.layer([IFiles, IAudit])
check<Same<Layer.Services<typeof serving>, Manager.For<typeof IFiles> | Manager.For<typeof IAudit>>>()
const whole: Layer.Layer<Server.Server> = serving.pipe(Layer.provide([auditing, filing]))
void whole
// @ts-expect-error the manager of IAudit is missing
const partial: Layer.Layer<Server.Server> = serving.pipe(Layer.provide(filing))
void partial

// A channel and a host of somebody else see nothing of the library's own.
check<
  Equal<
    keyof Channel.Outgoing,
    "operation" | "span" | "context" | "security" | "secured" | "remote" | "transferred" | "reply"
  >
>()
check<Equal<Extract<keyof Channel.Incoming, "pipes" | "cancelledEarly">, never>>()
check<Equal<Extract<keyof Interface.Operation, "handlesIn" | "handlesOut" | "rules">, never>>()
