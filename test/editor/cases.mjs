// What an editor has to show for each verb in its data-first form. `¦` is where the question is asked: `completion` gives the
// names offered there, `hover` the type of the name there, `error` the first line of the first error.

export const fixture = `import { Schema } from "effect"
import { Binding, Call, Interface } from "@callisto/rpc"

export class EndOfFile extends Schema.TaggedError<EndOfFile>()("EndOfFile", {}) {}

const methods = {
  Read: Interface.method({
    in: { count: Schema.Int },
    out: { data: Schema.Uint8Array },
    aborts: [Interface.abort(38, EndOfFile)]
  }),
  Stat: Interface.method({ in: { path: Schema.String, links: Schema.Boolean }, out: { size: Schema.Number } }),
  Flush: Interface.method({}),
  Follow: Interface.method({ in: { from: Schema.Int }, outPipe: { lines: Schema.String } }),
  Append: Interface.method({ in: { path: Schema.String }, out: { count: Schema.Int }, inPipe: { lines: Schema.String } })
}
export interface IFiles extends Interface.Interface<"IFiles", typeof methods> {}
export const IFiles: IFiles = Interface.make("IFiles", {
  uuid: "4f2c8ea6-6a3d-4f0e-9d1e-6a4f0b1d2c3e",
  version: [1, 0],
  methods
})

export declare const binding: Binding.Binding<IFiles>
export declare const call: Call.Call<IFiles>
export declare const read: Call.Pending<IFiles, "Read">
export declare const either: Call.Pending<IFiles, "Read"> | Call.Pending<IFiles, "Stat">
export declare const unionName: "Read" | "Stat"
export const client = Call.client(binding)
`

const completion = (code, expected) => ({ ask: "completion", code, expected })
const hover = (code, expected) => ({ ask: "hover", code, expected })
const error = (code, expected) => ({ ask: "error", code, expected })

const all = "Append Flush Follow Read Stat"
const data = "{ readonly data: Uint8Array<ArrayBufferLike>; }"
const anyTypo =
  `Argument of type '"Reed"' is not assignable to parameter of type '"Append" | "Flush" | "Follow" | "Read" | "Stat"'.`
const plainTypo = `Argument of type '"Reed"' is not assignable to parameter of type '"Flush" | "Read" | "Stat"'.`
const wrongField =
  "Object literal may only specify known properties, and 'size' does not exist in type '{ readonly count: number; }'."
const aUnion =
  `Argument of type '{ count: number; }' is not assignable to parameter of type '"a union of methods is no method"'.`
const missing = (count, got) => `Expected ${count} arguments, but got ${got}.`

export const cases = [
  // Call.invoke
  completion(`Call.invoke(binding, "¦")`, "Flush Read Stat"),
  completion(`Call.invoke(binding, "Stat", { ¦ })`, "links path"),
  hover(
    `const ¦result = Call.invoke(binding, "Read", { count: 1 })`,
    `Effect.Effect<${data}, BadStubData | CallCancelled | EndOfFile | RpcFault | RpcTransportError, never>`
  ),
  error(`Call.invoke(binding, "Reed", { count: 1 })`, plainTypo),
  error(`Call.invoke(binding, "Read", { size: 1 })`, wrongField),
  error(`Call.invoke(binding, unionName, { count: 1 })`, aUnion),
  error(`Call.invoke(binding, "Read")`, missing("3-4", 2)),

  // Call.begin
  completion(`Call.begin(call, "¦")`, all),
  completion(`Call.begin(call, "Stat", { ¦ })`, "links path"),
  hover(
    `const ¦result = Call.begin(call, "Read", { count: 1 })`,
    `Effect.Effect<Call.Pending<IFiles, "Read">, BadStubData | CallPending | InvalidAsyncHandle | RpcFault | RpcTransportError, never>`
  ),
  error(`Call.begin(call, "Reed", { count: 1 })`, anyTypo),
  error(`Call.begin(call, "Read", { size: 1 })`, wrongField),
  error(`Call.begin(call, unionName, { count: 1 })`, aUnion),
  error(`Call.begin(call, "Read")`, missing(3, 2)),

  // Call.start
  completion(`Call.start(binding, "¦")`, all),
  completion(`Call.start(binding, "Stat", { ¦ })`, "links path"),
  hover(
    `const ¦result = Call.start(binding, "Read", { count: 1 })`,
    `Effect.Effect<Call.Pending<IFiles, "Read">, BadStubData | InvalidAsyncHandle | NoInterface | RpcFault | RpcTransportError, Scope>`
  ),
  error(`Call.start(binding, "Reed", { count: 1 })`, anyTypo),
  error(`Call.start(binding, "Read", { size: 1 })`, wrongField),
  error(`Call.start(binding, unionName, { count: 1 })`, aUnion),
  error(`Call.start(binding, "Read")`, missing(3, 2)),

  // Call.stream
  completion(`Call.stream(binding, "¦")`, "Follow"),
  completion(`Call.stream(binding, "Follow", { ¦ })`, "from"),
  hover(
    `const ¦result = Call.stream(binding, "Follow", { from: 1 })`,
    "Stream<string, BadStubData | CallCancelled | PipeError | RpcFault | RpcTransportError, never>"
  ),
  error(
    `Call.stream(binding, "Read", { count: 1 })`,
    `Argument of type '"Read"' is not assignable to parameter of type '"Follow"'.`
  ),
  error(`Call.stream(binding, "Follow", { size: 1 })`, wrongField.replace("count", "from")),
  error(`Call.stream(binding, "Follow")`, missing(3, 2)),

  // Call.sink
  completion(`Call.sink(binding, "¦")`, "Append"),
  completion(`Call.sink(binding, "Append", { ¦ })`, "path"),
  hover(
    `const ¦result = Call.sink(binding, "Append", { path: "a" })`,
    "Sink<{ readonly count: number; }, string, never, BadStubData | CallCancelled | PipeError | RpcFault | RpcTransportError, never>"
  ),
  error(
    `Call.sink(binding, "Read", { count: 1 })`,
    `Argument of type '"Read"' is not assignable to parameter of type '"Append"'.`
  ),
  error(`Call.sink(binding, "Append", { size: 1 })`, wrongField.replace("count: number", "path: string")),
  error(`Call.sink(binding, "Append")`, missing(3, 2)),

  // Call.client
  completion("client.¦", all),
  completion("client.Stat({ ¦ })", "links path"),
  completion("client.Stat.begin({ ¦ })", "links path"),
  completion("client.Follow.stream({ ¦ })", "from"),
  completion("client.Append.sink({ ¦ })", "path"),
  completion("client.Read.¦", "begin"),
  completion("client.Follow.¦", "begin stream"),
  completion("client.Append.¦", "begin sink"),
  hover(
    "const ¦result = client.Read({ count: 1 })",
    `Effect.Effect<${data}, BadStubData | CallCancelled | EndOfFile | RpcFault | RpcTransportError, never>`
  ),
  hover(
    "const ¦result = client.Read.begin({ count: 1 })",
    `Effect.Effect<Call.Pending<IFiles, "Read">, BadStubData | InvalidAsyncHandle | NoInterface | RpcFault | RpcTransportError, Scope>`
  ),
  hover(
    "const ¦result = client.Follow.stream({ from: 1 })",
    "Stream<string, BadStubData | CallCancelled | PipeError | RpcFault | RpcTransportError, never>"
  ),
  hover(
    `const ¦result = client.Append.sink({ path: "a" })`,
    "Sink<{ readonly count: number; }, string, never, BadStubData | CallCancelled | PipeError | RpcFault | RpcTransportError, never>"
  ),
  error(
    "client.Reed({ count: 1 })",
    "Property 'Reed' does not exist on type 'Client<IFiles>'."
  ),
  error("client.Read({ size: 1 })", wrongField),
  error("client.Read()", missing("1-2", 0)),
  error("client.Read.begin({ size: 1 })", wrongField),
  error("client.Read.begin()", missing(1, 0)),
  error("client.Follow.stream({ size: 1 })", wrongField.replace("count", "from")),
  error("client.Append.sink({ size: 1 })", wrongField.replace("count: number", "path: string")),
  error("client.Read.stream({ count: 1 })", `Property 'stream' does not exist on type 'Plain<IFiles, "Read">'.`),

  // evidence
  hover(
    "const ¦result = Call.finish(read)",
    `Effect.Effect<${data}, CallCancelled | CallComplete | CallPending | EndOfFile | InvalidAsyncHandle | RpcFault | RpcTransportError, never>`
  ),
  hover(
    "const ¦result = Call.finish(either)",
    `Effect.Effect<${data} | { readonly size: number; }, CallCancelled | CallComplete | CallPending | EndOfFile | InvalidAsyncHandle | RpcFault | RpcTransportError, never>`
  ),
  hover(
    "const ¦result = Call.cancel(read)",
    "Effect.Effect<void, CallCancelled | CallComplete | CancelDisabled | InvalidAsyncHandle | RpcTransportError, never>"
  ),
  hover("const ¦result = read.method", `"Read"`),
  hover("const ¦result = either.method", `"Read" | "Stat"`),
  hover(
    "const ¦result = Call.join(read)",
    `Effect.Effect<${data}, CallCancelled | CallComplete | EndOfFile | InvalidAsyncHandle | RpcFault | RpcTransportError, never>`
  ),
  hover(
    "const ¦result = Call.join(either)",
    `Effect.Effect<${data} | { readonly size: number; }, CallCancelled | CallComplete | EndOfFile | InvalidAsyncHandle | RpcFault | RpcTransportError, never>`
  ),
  completion("Call.cancel(read, { ¦ })", "timeout"),
  error(
    "Call.cancel(read, { timout: 1 })",
    "Object literal may only specify known properties, but 'timout' does not exist in type 'CancelOptions'. Did you mean to write 'timeout'?"
  ),
  error("Call.finish(call)", "Argument of type 'Call<IFiles>' is not assignable to parameter of type 'Any'."),
  error(
    "Call.join(call)",
    "Argument of type 'Call<IFiles>' is not assignable to parameter of type 'Any'."
  )
]
