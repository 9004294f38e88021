// Compiled by the type check of the tests; it never runs.
import { Effect, Schema, Stream } from "effect"
import { type Binding, Call, Interface, Manager, Pipe, ServerCall, Status } from "../mod.ts"

type Same<A, B> = [A] extends [B] ? [B] extends [A] ? true : false : false

/** Accepts only the literal `true` that its type argument stands for. */
declare const check: <T extends true>() => T

type Success<T> = T extends Effect.Effect<infer A, infer _E, infer _R> ? A : never
type Failure<T> = T extends Effect.Effect<infer _A, infer E, infer _R> ? E : never

type Transport = Status.RpcFault | Status.CallCancelled | Status.RpcTransportError
type Refused = Status.CallComplete | Status.InvalidAsyncHandle

const Pipes = Interface.make("Pipes", {
  uuid: "5d0c2a4e-1f3b-4d7a-9c58-2e6b7f8a9b01",
  version: [1, 0],
  methods: {
    Upload: Interface.method({ in: { name: Schema.String }, inPipe: { content: Pipe.bytes }, out: Schema.Int }),
    Count: Interface.method({ outPipe: { numbers: Schema.Int } }),
    Both: Interface.method({ inPipe: { lines: Schema.String }, outPipe: { lines: Schema.String } }),
    Plain: Interface.method({ in: { name: Schema.String } })
  }
})

declare const piped: Binding.Binding<typeof Pipes>
declare const anything: Binding.Binding<any>
declare const upload: Call.Pending<typeof Pipes, "Upload">
declare const both: Call.Pending<typeof Pipes, "Both">

// A method with pipes may fail with their errors; another one may not.
const joinedUpload = Call.join(upload)
check<Same<Failure<typeof joinedUpload>, Transport | Status.PipeError | Refused>>()
const waitedForUpload = Call.wait(upload)
check<Same<Failure<typeof waitedForUpload>, Refused | Status.PipeDisciplineError>>()
declare const plain: Call.Pending<typeof Pipes, "Plain">
const joinedPlain = Call.join(plain)
check<Same<Failure<typeof joinedPlain>, Transport | Refused>>()

// The ends carry the chunks of their pipe.
const content = Call.inPipe(upload, "content")
Pipe.push(content, new Uint8Array(1))
// @ts-expect-error not a chunk of bytes
Pipe.push(content, "text")
// @ts-expect-error the client does not pull it
Pipe.pull(content)
const pulled = Pipe.pull(Call.outPipe(both, "lines"))
check<Same<Success<typeof pulled>, ReadonlyArray<string>>>()

// @ts-expect-error an undeclared pipe
Call.inPipe(upload, "other")
// @ts-expect-error a pipe of the other direction
Call.outPipe(upload, "content")
// @ts-expect-error a method without pipes
Call.inPipe(plain, "content")

// The one-shot form is for methods without pipes, streams and sinks for those with one.
Call.invoke(piped, "Plain", { name: "a" })
// @ts-expect-error it has a pipe
Call.invoke(piped, "Upload", { name: "a" })
const counted = Call.stream(piped, "Count")
check<Same<Stream.Success<typeof counted>, number>>()
// @ts-expect-error it has no pipe
Call.stream(piped, "Plain", { name: "a" })
// @ts-expect-error its pipe goes the other way
Call.stream(piped, "Upload", { name: "a" })
// @ts-expect-error its pipe goes the other way
Call.sink(piped, "Count")
// @ts-expect-error it has two
Call.stream(piped, "Both")
const uploading = Stream.run(Stream.make(new Uint8Array(1)), Call.sink(piped, "Upload", { name: "a" }))
check<Same<Success<typeof uploading>, number>>()
// @ts-expect-error a stream of something else
Stream.run(Stream.make(1), Call.sink(piped, "Upload", { name: "a" }))

// The client object has the one that fits.
const client = Call.client(piped)
check<Same<Stream.Success<ReturnType<typeof client.Count.stream>>, number>>()
const uploadingByClient = Stream.run(Stream.make(new Uint8Array(1)), client.Upload.sink({ name: "a" }))
check<Same<Success<typeof uploadingByClient>, number>>()
check<Same<Failure<typeof uploadingByClient>, Failure<typeof uploading>>>()
client.Both.begin()
client.Plain({ name: "a" })
// @ts-expect-error it has a pipe
client.Count()
// @ts-expect-error its pipe goes the other way
client.Count.sink
// @ts-expect-error it has two
client.Both.stream
// @ts-expect-error it has no pipe
client.Plain.stream

// Data-last.
const countedLast = piped.pipe(Call.stream("Count"))
check<Same<typeof countedLast, typeof counted>>()
Stream.run(Stream.make(new Uint8Array(1)), piped.pipe(Call.sink("Upload", { name: "a" })))
Pipe.push(upload.pipe(Call.inPipe("content")), new Uint8Array(1))
Pipe.pull(both.pipe(Call.outPipe("lines")))
// @ts-expect-error data-last: an undeclared pipe
upload.pipe(Call.inPipe("other"))

// Of a binding to anything nothing is known.
Call.invoke(anything, "Method", 1)
Call.stream(anything, "Method", 1)
Call.sink(anything, "Method", 1)
Call.client(anything)

// On the server the other way round; a routine may fail with what its pipes fail with.
Manager.make(Pipes, {
  Upload: (_, call) => Effect.map(Pipe.pull(ServerCall.inPipe(call, "content")), ({ length }) => length),
  Count: (_, call) => Pipe.end(ServerCall.outPipe(call, "numbers")),
  Both: () => Effect.void,
  // @ts-expect-error it has no pipes
  Plain: () => Effect.fail(new Status.PipeClosed({ pipe: "none" }))
})
