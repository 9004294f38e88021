// Compiled by the type check of the tests; it never runs.
import { Effect, Schema } from "effect"
import { type Binding, Call, Interface, type Manager, type Status } from "../mod.ts"

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/** Accepts only the literal `true` that its type argument stands for. */
declare const check: <T extends true>() => T

class EndOfFile extends Schema.TaggedError<EndOfFile>()("EndOfFile", {}) {}
class HResult extends Schema.TaggedError<HResult>()("HResult", { hresult: Schema.Int, why: Schema.String }) {}
class Query extends Schema.Class<Query>("Query")({ text: Schema.String, limit: Schema.optionalKey(Schema.Int) }) {}

const Files = Interface.make("Files", {
  methods: {
    Read: Interface.method({
      in: { count: Schema.Int, from: Schema.Int.pipe(Schema.withConstructorDefault(Effect.succeed(0))) },
      out: Schema.String,
      aborts: [EndOfFile, Interface.abort(5, HResult)]
    }),
    Ask: Interface.method({ in: Query, aborts: [Interface.openAbort(HResult, "hresult")] }),
    Rewind: Interface.method({}),
    Follow: Interface.method({ outPipe: { lines: Schema.String } }),
    Append: Interface.method({ inPipe: { lines: Schema.String } }),
    Copy: Interface.method({ inPipe: { lines: Schema.String }, outPipe: { lines: Schema.String } }),
    Two: Interface.method({ outPipe: { lines: Schema.String, errors: Schema.String } })
  }
})
type Methods = (typeof Files)["methods"]

// -- names -------------------------------------------------------------------------------------------------------------

type Names<Kind extends "plain" | "stream" | "sink" | "any"> = Interface.Interface.MethodName<typeof Files, Kind>
check<Equal<Interface.Interface.MethodName<typeof Files>, Names<"plain">>>()
check<Equal<Names<"any">, keyof Methods>>()
check<Equal<Names<"plain">, "Read" | "Ask" | "Rewind">>()
check<Equal<Names<"stream">, "Follow">>()
check<Equal<Names<"sink">, "Append">>()
check<Equal<Interface.Interface.MethodName<Interface.Interface.Any>, string>>()
check<Equal<Interface.Interface.MethodName<Interface.Interface.Any, "plain">, string>>()

type One<K> = Interface.Interface.One<K, [input: string]>
check<Equal<One<"Read">, [input: string]>>()
check<Equal<One<"Read" | "Ask">, [never: "a union of methods is no method"]>>()

declare const call: <I extends Interface.Interface.Any, const K extends Interface.Interface.MethodName<I, "plain">>(
  binding: Binding.Binding<I>,
  method: K,
  ...args: Interface.Interface.One<K, Interface.Method.Args<I["methods"][K]>>
) => Interface.Method.Out<I["methods"][K]>

declare const files: Binding.Binding<typeof Files>
check<Equal<ReturnType<typeof readOf>, string>>()
const readOf = () => call(files, "Read", { count: 1 })
// @ts-expect-error a method with a pipe is not plain
call(files, "Follow")
// @ts-expect-error a union of methods is no method
call(files, "Read" as "Read" | "Ask", { count: 1 })

// Code that is generic in the interface and the method.
export const generic = <I extends Interface.Interface.Any, const K extends Interface.Interface.MethodName<I, "plain">>(
  binding: Binding.Binding<I>,
  method: K,
  ...args: Interface.Interface.One<K, Interface.Method.Args<I["methods"][K]>>
): Interface.Method.Out<I["methods"][K]> => call<I, K>(binding, method, ...args)
export const anyKind = <I extends Interface.Interface.Any, K extends Interface.Interface.MethodName<I, "stream">>(
  method: K
): Interface.Interface.MethodName<I, "any"> => method

// -- inputs ------------------------------------------------------------------------------------------------------------

check<
  Equal<
    Interface.Method.Args<Methods["Read"]>,
    [value: { readonly count: number; readonly from?: number }]
  >
>()
check<Equal<Interface.Method.In<Methods["Read"]>, { readonly count: number; readonly from: number }>>()
check<Equal<Interface.Method.Args<Methods["Rewind"]>, []>>()
check<Equal<Interface.Method.In<Methods["Ask"]>, Query>>()

Call.invoke(files, "Read", { count: 1 })
Call.invoke(files, "Read", { count: 1, from: 2 })
Call.invoke(files, "Ask", { text: "a" })
Call.invoke(files, "Ask", new Query({ text: "a" }))
// @ts-expect-error a field without a default must be there
Call.invoke(files, "Read", { from: 1 })

declare const routines: Manager.Manager.Routines<typeof Files>
check<Equal<Parameters<Extract<typeof routines.Read, (...args: any) => any>>[0]["from"], number>>()

// -- aborts ------------------------------------------------------------------------------------------------------------

check<Equal<Interface.Method.Abort<Methods["Read"]>, EndOfFile | HResult>>()
check<Equal<Interface.Method.Abort<Methods["Ask"]>, HResult>>()
check<Equal<Interface.Method.Abort<Methods["Rewind"]>, never>>()
const asked = Call.invoke(files, "Ask", { text: "a" })
check<
  Equal<
    typeof asked extends Effect.Effect<void, infer E> ? E : never,
    HResult | Status.RpcFault | Status.CallCancelled | Status.RpcTransportError | Status.BadStubData
  >
>()
// @ts-expect-error the field of the code is a number
Interface.openAbort(HResult, "why")
// @ts-expect-error no such field
Interface.openAbort(HResult, "code")
// @ts-expect-error an error class without a tag
Interface.method({ aborts: [Query] })
