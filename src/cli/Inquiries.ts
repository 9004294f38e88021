/**
 * What a server can be asked.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import type { Binding } from "../Binding.ts"
import * as Call from "../Call.ts"
import * as Association from "../dcerpc/Association.ts"
import { type Entry, IEndpointMapper, lookup } from "../dcerpc/EndpointMapper.ts"
import { IManagement } from "../dcerpc/Management.ts"
import * as StringBinding from "../transport/StringBinding.ts"
import * as Tower from "../dcerpc/Tower.ts"
import type { Transport } from "../transport/Transport.ts"
import { fromNumber, type RpcError } from "../Status.ts"
import { explain, type Failure } from "./Failure.ts"
import { nameOf } from "./KnownInterfaces.ts"
import { type Paint, progress, table } from "./Screen.ts"

/** What a command found out, for programs and for people. */
export interface Answer {
  readonly json: { readonly [key: string]: unknown }
  readonly text: (paint: Paint) => string
}

/** A command's work. */
export type Inquiry = Effect.Effect<Answer, Failure, Transport | Stdio.Stdio>

/** Binds to the management interface. A call is given up when no answer comes within 30 seconds. */
export const bindManagement = (
  binding: string
): Effect.Effect<
  Binding<typeof IManagement>,
  Effect.Error<ReturnType<typeof Association.bind>>,
  Transport | Scope.Scope
> => Association.bind(IManagement, binding, { callTimeout: "30 seconds" })

/** Fails with the error that a function reports in its results. */
export const succeeded = <Out extends { readonly status: number }>(out: Out): Effect.Effect<Out, RpcError> =>
  Option.match(fromNumber(out.status), { onNone: () => Effect.succeed(out), onSome: Effect.fail })

const ask = (
  binding: string,
  what: string | (() => string),
  question: Effect.Effect<Answer, RpcError | StringBinding.StringBindingError, Transport | Scope.Scope>
): Inquiry =>
  progress(
    () => `Asking ${binding} for ${typeof what === "string" ? what : what()}`,
    Effect.mapError(Effect.scoped(question), explain(binding))
  )

/** The interfaces that an endpoint offers, as its management interface tells. */
export const interfaces = (binding: string): Inquiry =>
  ask(
    binding,
    "its interfaces",
    Effect.gen(function* () {
      const management = yield* bindManagement(binding)
      const { if_id_vector } = yield* Effect.flatMap(Call.invoke(management, "inq_if_ids"), succeeded)
      const offered = (if_id_vector?.ids ?? []).flatMap((id) =>
        id === null ? [] : [{ uuid: id.uuid, version: `${id.major}.${id.minor}`, name: nameOf(id.uuid) }]
      )
      return {
        json: { binding, interfaces: offered },
        text: (paint) =>
          table(
            [{ title: "INTERFACE" }, { title: "VERSION" }, { title: "NAME", style: "cyan" }],
            offered.map(({ name, uuid, version }) => [uuid, version, name ?? ""]),
            paint
          )
      }
    })
  )

// More than any mapper has: one that goes on for ever is not listened to for ever.
const mostEntries = 20_000

/** What an endpoint mapper knows. */
export const dump = (binding: string): Inquiry => {
  const found: Array<Entry> = []
  const question = Effect.gen(function* () {
    const mapper = yield* Association.bind(IEndpointMapper, binding, { callTimeout: "30 seconds" })
    const entries = Stream.take(lookup(mapper), mostEntries + 1)
    yield* Stream.runForEach(entries, (entry) => Effect.sync(() => found.push(entry)))
    if (found.length > mostEntries) {
      found.length = mostEntries
      yield* Effect.logWarning(`There are more entries: these are the first ${mostEntries}.`)
    }
    const rows = found.map((entry) => rowOf(entry, binding)).sort(byInterface)
    const withObjects = rows.some(({ object }) => object !== undefined)
    return {
      json: { binding, entries: rows },
      text: (paint: Paint) =>
        table(
          [
            { title: "INTERFACE" },
            { title: "VERSION" },
            { title: "NAME", style: "cyan" },
            { title: "BINDING" },
            ...(withObjects ? [{ title: "OBJECT" }] : []),
            { title: "ANNOTATION" }
          ],
          rows.map(({ annotation, name, object, uuid, version, ...row }) => [
            uuid,
            version,
            name ?? "",
            row.binding,
            ...(withObjects ? [object ?? ""] : []),
            annotation
          ]),
          paint
        )
    }
  })
  return ask(binding, () => `its entries, ${found.length} so far`, question)
}

const rowOf = ({ annotation, interface: { uuid, version }, object, ...entry }: Entry, asked: string) => ({
  uuid,
  version: version.join("."),
  name: nameOf(uuid),
  binding: entry.binding === undefined ? Tower.print(entry.tower) : StringBinding.print(onHostOf(asked, entry.binding)),
  object,
  annotation
})

/** An entry without an address is about the host of the mapper. */
const onHostOf = (asked: string, binding: StringBinding.StringBinding): StringBinding.StringBinding => {
  const mapper = StringBinding.parse(asked)
  const isLocal = binding.address !== "" || binding.protocol !== "ncacn_ip_tcp" || Result.isFailure(mapper)
  return isLocal ? binding : { ...binding, address: mapper.success.address }
}

const byInterface = (a: ReturnType<typeof rowOf>, b: ReturnType<typeof rowOf>): number => {
  const key = ({ binding, uuid, version }: typeof a) => `${uuid} ${version} ${binding}`
  return key(a) < key(b) ? -1 : 1
}

const statistics = [
  ["callsIn", "calls received"],
  ["callsOut", "calls made"],
  ["packetsIn", "packets received"],
  ["packetsOut", "packets sent"]
] as const

/** What a server has done, as its management interface tells. */
export const stats = (binding: string): Inquiry =>
  ask(
    binding,
    "its statistics",
    Effect.gen(function* () {
      const management = yield* bindManagement(binding)
      const count = statistics.length
      const { statistics: values } = yield* Effect.flatMap(Call.invoke(management, "inq_stats", { count }), succeeded)
      // A server may keep fewer.
      const known = statistics.flatMap(([key, title], i) =>
        i < values.length ? [{ key, title, value: values[i]! }] : []
      )
      return {
        json: { binding, ...Object.fromEntries(known.map(({ key, value }) => [key, value])) },
        text: (paint) =>
          table(
            [{ title: "STATISTIC" }, { title: "COUNT", align: "right", style: "cyan" }],
            known.map(({ title, value }) => [title, String(value)]),
            paint
          )
      }
    })
  )
