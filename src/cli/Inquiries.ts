/**
 * What a server can be asked.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import type { Binding } from "../Binding.ts"
import * as Call from "../Call.ts"
import * as Association from "../dcerpc/Association.ts"
import * as EndpointMapper from "../dcerpc/EndpointMapper.ts"
import { IManagement } from "../dcerpc/Management.ts"
import * as Tower from "../dcerpc/Tower.ts"
import * as Interface from "../Interface.ts"
import * as Ndr from "../ndr/Ndr.ts"
import { EndpointNotRegistered, fromNumber, type RpcError } from "../Status.ts"
import * as StringBinding from "../transport/StringBinding.ts"
import type { Transport } from "../transport/Transport.ts"
import { explain, type Failure, type Target } from "./Failure.ts"
import { knownOf } from "./KnownInterfaces.ts"
import { type Paint, progress, table } from "./Screen.ts"

/** What a command found out, for programs and for people. */
export interface Answer {
  readonly json: { readonly [key: string]: unknown }
  /** Missing for a line that only programs get. */
  readonly text?: (paint: Paint) => string
}

/** A command's work. */
export type Inquiry = Effect.Effect<Answer, Failure, Transport | Stdio.Stdio>

/**
 * The login and the time limits of an association. Without `--timeout` a call may take 30 seconds, and connecting the library's
 * default.
 */
export const optionsOf = ({ login, timeout }: Target): Association.Options =>
  Option.match(timeout, {
    onNone: () => ({ callTimeout: "30 seconds", security: login?.security }),
    onSome: (timeout) => ({ callTimeout: timeout, connectTimeout: timeout, security: login?.security })
  })

/** Binds to the management interface. */
export const bindManagement = (
  target: Target
): Effect.Effect<
  Binding<typeof IManagement>,
  Effect.Error<ReturnType<typeof Association.bind>>,
  Transport | Scope.Scope
> => Association.bind(IManagement, target.binding, optionsOf(target))

const bindMapper = (target: Target) =>
  Association.bind(EndpointMapper.IEndpointMapper, target.binding, optionsOf(target))

/** Fails with the error that a function reports in its results. */
export const succeeded = <Out extends { readonly status: number }>(out: Out): Effect.Effect<Out, RpcError> =>
  Option.match(fromNumber(out.status), { onNone: () => Effect.succeed(out), onSome: Effect.fail })

const ask = (
  target: Target,
  what: string | (() => string),
  question: Effect.Effect<Answer, RpcError | StringBinding.StringBindingError, Transport | Scope.Scope>
): Inquiry =>
  progress(
    () => `Asking ${target.binding} for ${typeof what === "string" ? what : what()}`,
    Effect.mapError(Effect.scoped(question), explain(target))
  )

/** The interfaces that an endpoint offers, as its management interface tells. */
export const interfaces = (target: Target): Inquiry =>
  ask(
    target,
    "its interfaces",
    Effect.gen(function* () {
      const management = yield* bindManagement(target)
      const { if_id_vector } = yield* Effect.flatMap(Call.invoke(management, "inq_if_ids"), succeeded)
      const offered = (if_id_vector?.ids ?? []).flatMap((id) =>
        id === null ? [] : [{ uuid: id.uuid, version: `${id.major}.${id.minor}`, ...knownOf(id.uuid) }]
      )
      return {
        json: { binding: target.binding, interfaces: offered },
        text: (paint) =>
          table(
            [{ title: "INTERFACE" }, { title: "VERSION" }, { title: "NAME", style: "cyan" }, { title: "DOCUMENT" }],
            offered.map(({ document, name, uuid, version }) => [uuid, version, name ?? "", document ?? ""]),
            paint
          )
      }
    })
  )

// ----------------------------------------------------------------------------
// the endpoint mapper
// ----------------------------------------------------------------------------

// More than any mapper has: one that goes on for ever is not listened to for ever.
const mostEntries = 20_000

/** What an endpoint mapper knows, grouped by process. */
export const dump = (target: Target): Inquiry => {
  const { binding } = target
  const found: Array<EndpointMapper.Entry> = []
  const question = Effect.gen(function* () {
    const mapper = yield* bindMapper(target)
    const entries = Stream.take(EndpointMapper.lookup(mapper), mostEntries + 1)
    yield* Stream.runForEach(entries, (entry) => Effect.sync(() => found.push(entry)))
    if (found.length > mostEntries) {
      found.length = mostEntries
      yield* Effect.logWarning(`There are more entries: these are the first ${mostEntries}.`)
    }
    const rows = byProcess(found.map((entry) => rowOf(entry, binding)).sort(byInterface))
    const withObjects = rows.some(({ object }) => object !== null)
    return {
      json: { binding, entries: rows },
      text: (paint: Paint) =>
        table(
          [
            { title: "PROCESS", align: "right" },
            { title: "INTERFACE" },
            { title: "VERSION" },
            { title: "NAME", style: "cyan" },
            { title: "DOCUMENT" },
            { title: "BINDING" },
            ...(withObjects ? [{ title: "OBJECT" }] : []),
            { title: "ANNOTATION" }
          ],
          rows.map(({ annotation, document, name, object, process, uuid, version, ...row }) => [
            String(process),
            uuid,
            version,
            name ?? "",
            document ?? "",
            row.binding,
            ...(withObjects ? [object ?? ""] : []),
            annotation
          ]),
          paint
        )
    }
  })
  return ask(target, () => `its entries, ${found.length} so far`, question)
}

interface Row {
  readonly uuid: string
  readonly version: string
  readonly name: string | null
  readonly document: string | null
  readonly binding: string
  readonly object: string | null
  readonly annotation: string
}

const rowOf = (
  { annotation, interface: { uuid, version }, object, ...entry }: EndpointMapper.Entry,
  asked: string
): Row => ({
  uuid,
  version: version.join("."),
  ...knownOf(uuid),
  binding: entry.binding === undefined ? Tower.print(entry.tower) : StringBinding.print(onHostOf(asked, entry.binding)),
  object: object ?? null,
  annotation
})

/** An entry without an address is about the host of the mapper. */
const onHostOf = (asked: string, binding: StringBinding.StringBinding): StringBinding.StringBinding => {
  const mapper = StringBinding.parse(asked)
  const isLocal = binding.address !== "" || binding.protocol !== "ncacn_ip_tcp" || Result.isFailure(mapper)
  return isLocal ? binding : { ...binding, address: mapper.success.address }
}

const byInterface = (a: Row, b: Row): number => {
  const key = ({ binding, uuid, version }: Row) => `${uuid} ${version} ${binding}`
  return key(a) < key(b) ? -1 : 1
}

/**
 * Numbers the processes in the order of the rows, and sorts by them. A mapper does not know processes: rows with the same endpoint
 * are one process, and so are rows that differ in the endpoint alone.
 */
const byProcess = (rows: ReadonlyArray<Row>): ReadonlyArray<Row & { readonly process: number }> => {
  const parents = new Map<string, string>()
  const rootOf = (key: string): string => {
    let root = key
    for (let parent = parents.get(root); parent !== undefined; parent = parents.get(root)) root = parent
    return root
  }
  for (const row of rows) {
    const endpoint = rootOf(row.binding)
    const registration = rootOf([row.uuid, row.version, row.object, row.annotation].join("\0"))
    if (endpoint !== registration) parents.set(registration, endpoint)
  }
  const numbers = new Map<string, number>()
  return rows.map((row) => {
    const root = rootOf(row.binding)
    const process = numbers.get(root) ?? numbers.size + 1
    numbers.set(root, process)
    return { process, ...row }
  }).sort((a, b) => a.process - b.process)
}

/** An interface whose version is known or not. */
export interface Sought {
  readonly uuid: string
  readonly version: readonly [major: number, minor: number] | undefined
}

/** Interfaces that travel in NDR and in Callisto's own syntax: a mapper is asked for one of both. */
const forms: ReadonlyArray<{ readonly [name: string]: Interface.Method.Any }> = [{}, {
  Any: Interface.method({ in: Schema.Number })
}]

/** Where an interface is served, as an endpoint mapper tells: in one version, or in each that the mapper knows. */
export const map = (
  target: Target,
  { uuid, version }: Sought,
  protocol: "ncacn_ip_tcp" | "ncalrpc"
): Inquiry => {
  const known = knownOf(uuid)
  const name = known.name ?? uuid
  const versionsOf = (mapper: EndpointMapper.Mapper) =>
    Effect.map(
      Stream.runCollect(EndpointMapper.lookup(mapper, { interface: { uuid, version: [0, 0] }, versions: "all" })),
      (entries) => [...new Map(entries.map(({ interface: { version } }) => [version.join("."), version])).values()]
    )
  const question = Effect.gen(function* () {
    const mapper = yield* bindMapper(target)
    const versions = version === undefined ? yield* versionsOf(mapper) : [version]
    const endpoints: Array<{ readonly version: string; readonly binding: string }> = []
    for (const version of versions) {
      for (const methods of forms) {
        const iface = Interface.make("Sought", { uuid, version, methods })
        const found = yield* Effect.catchTag(
          EndpointMapper.map(mapper, iface, { protocol }),
          "EndpointNotRegistered",
          () => Effect.succeed([])
        )
        for (const binding of found) {
          endpoints.push({
            version: version.join("."),
            binding: StringBinding.print(onHostOf(target.binding, binding))
          })
        }
      }
    }
    if (endpoints.length === 0) {
      const detail = `the endpoint mapper knows no server of ${
        version === undefined ? "any version" : `version ${version.join(".")}`
      } for ${protocol}`
      return yield* new EndpointNotRegistered({ interface: known.name ?? "without a name", uuid, detail })
    }
    return {
      json: { binding: target.binding, uuid, ...known, endpoints },
      text: (paint: Paint) =>
        table(
          [{ title: "VERSION" }, { title: "BINDING", style: "cyan" }],
          endpoints.map(({ binding, version }) => [version, binding]),
          paint
        )
    }
  })
  return ask(target, `the endpoints of ${name}`, question)
}

// ----------------------------------------------------------------------------
// statistics
// ----------------------------------------------------------------------------

const statistics = [
  ["callsIn", "calls received"],
  ["callsOut", "calls made"],
  ["packetsIn", "packets received"],
  ["packetsOut", "packets sent"]
] as const

/** The management interface of Samba, whose `inq_stats` takes one number more. */
const ISambaManagement = Interface.make("mgmt", {
  uuid: IManagement.uuid,
  version: IManagement.version,
  methods: {
    inq_stats: Interface.method({
      opnum: 1,
      in: { count: Ndr.Uint32, unknown: Ndr.Uint32 },
      out: { count: Ndr.sizeIs("statistics"), statistics: Ndr.conformant(Ndr.Uint32), status: Ndr.Uint32 }
    })
  }
})

const badStubData = 1783

/** Asks in the standard form of the call, and then in that of Samba. */
const inquireStatistics = (target: Target) =>
  Effect.gen(function* () {
    const count = statistics.length
    const standard = Effect.flatMap(bindManagement(target), (management) =>
      Call.invoke(management, "inq_stats", { count }))
    const ofSamba = Effect.flatMap(
      Association.bind(ISambaManagement, target.binding, optionsOf(target)),
      (management) =>
        Call.invoke(management, "inq_stats", { count, unknown: 0 })
    )
    return yield* Effect.catchIf(standard, ({ codes }) => codes.rpcStatus?.number === badStubData, () => ofSamba)
  })

/** What a server has done, as its management interface tells. */
export const stats = (target: Target): Inquiry =>
  ask(
    target,
    "its statistics",
    Effect.gen(function* () {
      const { statistics: values } = yield* Effect.flatMap(inquireStatistics(target), succeeded)
      // A server may keep fewer.
      const counts = statistics.map(([key, title], i) => ({ key, title, value: values[i] ?? null }))
      return {
        json: { binding: target.binding, ...Object.fromEntries(counts.map(({ key, value }) => [key, value])) },
        text: (paint) =>
          table(
            [{ title: "STATISTIC" }, { title: "COUNT", align: "right", style: "cyan" }],
            counts.flatMap(({ title, value }) => value === null ? [] : [[title, String(value)]]),
            paint
          )
      }
    })
  )
