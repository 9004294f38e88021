/**
 * What a server can be asked.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as Stdio from "effect/Stdio"
import type { Binding } from "../Binding.ts"
import * as Call from "../Call.ts"
import * as Association from "../dcerpc/Association.ts"
import { IManagement } from "../dcerpc/Management.ts"
import type { StringBindingError } from "../dcerpc/StringBinding.ts"
import type { Transport } from "../dcerpc/Transport.ts"
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
  what: string,
  question: Effect.Effect<Answer, RpcError | StringBindingError, Transport | Scope.Scope>
): Inquiry => progress(`Asking ${binding} for ${what}`, Effect.mapError(Effect.scoped(question), explain(binding)))

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
