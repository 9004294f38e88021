/** docs/error_reference.md: the messages of all errors end with a name that the page explains. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, type Scope } from "effect"
import { readdirSync, readFileSync } from "node:fs"
import { ContextHandle, Interface, Manager, Server, Status } from "../mod.ts"
import { exitCodes, sentenceOf } from "../src/cli/Failure.ts"
import * as Association from "../src/dcerpc/Association.ts"
import * as Endpoint from "../src/dcerpc/Endpoint.ts"
import * as Pdu from "../src/dcerpc/Pdu.ts"
import * as Tower from "../src/dcerpc/Tower.ts"
import { clauseOf } from "../src/internal/named.ts"
import { rows } from "../src/internal/statusTable.ts"
import * as Uuid from "../src/internal/uuid.ts"
import * as Ndr from "../src/ndr/Ndr.ts"
import * as Negotiate from "../src/security/Negotiate.ts"
import * as Ntlm from "../src/security/Ntlm.ts"
import * as Security from "../src/security/Security.ts"
import * as Memory from "../src/transport/Memory.ts"
import * as StringBinding from "../src/transport/StringBinding.ts"
import type { Transport } from "../src/transport/Transport.ts"

const root = new URL("../", import.meta.url)
const page = readFileSync(new URL("docs/error_reference.md", root), "utf8")

/** The entries of the page, each with its text. */
const entries = new Map(
  page.split(/^#{2,3} /m).slice(1).map((text) => [text.slice(0, text.indexOf("\n")), text] as const)
)

/** The name at the end of a message, which has an entry. */
const nameIn = (message: string): string => {
  const [, name = ""] = / \((\w+)\)$/.exec(message) ?? []
  assert(entries.has(name), `no entry of docs/error_reference.md: ${message}`)
  return name
}

const where = { interface: "Desk", uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1a01", detail: "no such version" }
const detail = "the reason"

/** An error of each class. */
const errors: ReadonlyArray<Error & { readonly _tag: string }> = [
  new Status.BadStubData({ detail }),
  new Status.CallCancelled(),
  new Status.CallComplete(),
  new Status.CallPending(),
  new Status.CancelDisabled({ interface: "Desk", method: "Hold" }),
  new Status.CantCreateEndpoint({ status: 1720, detail }),
  new Status.ContextMismatch(),
  new Status.EndpointNotRegistered(where),
  new Status.HresultError({ code: 0x80004005 }),
  new Status.InvalidAsyncHandle({ handle: "call object" }),
  new Status.NoInterface(where),
  new Status.NoSync(),
  new Status.NtStatusError({ code: 0xc0000022 }),
  new Status.NullContext({ parameter: "cursor" }),
  new Status.PipeClosed({ pipe: "file" }),
  new Status.PipeDisciplineError({ pipe: "file" }),
  new Status.PipeEmpty({ pipe: "file" }),
  new Status.RpcFault({ code: 5 }),
  new Status.RpcTransportError({ status: 1722, detail }),
  new Status.UnknownInterface(where),
  new Status.WaitTimeout(),
  new Status.Win32Error({ code: 5 }),
  new Status.WrongPipeOrder({ pipe: "file" }),
  new StringBinding.StringBindingError({ status: 1700, input: "x", position: 0, detail }),
  new Tower.TowerError({ status: 1751, detail }),
  new Security.LoginFailure({ reason: "refused", detail })
]

describe("docs/error_reference.md", () => {
  for (const error of errors) {
    it(`${error._tag}: the message ends with the name of the entry`, () => {
      assert.strictEqual(nameIn(error.message), error._tag)
    })
  }

  it("the classes of Status: each is among those above", () => {
    const isError = (value: unknown): value is { readonly name: string } =>
      typeof value === "function" && value.prototype instanceof Error
    const names = Object.entries(Status).flatMap(([name, value]) => isError(value) ? [name] : [])
    assert.includeMembers(errors.map(({ _tag }) => _tag), names)
    assert.isAbove(names.length, 20)
  })

  it("an entry: says what the error means and what to do", () => {
    for (const [name, text] of entries) {
      if (!new RegExp(`^### ${name}$`, "m").test(page)) continue
      assert.include(text, "**Means:**", name)
      assert.include(text, "**Do:**", name)
    }
  })

  it("a number in a table: has the documented name", () => {
    const documented = new Map(
      rows.flatMap(({ codes: { rpcStatus } }) => rpcStatus === undefined ? [] : [[rpcStatus.number, rpcStatus.name]])
    )
    for (const status of [1703, 1720, 1740] as const) {
      documented.set(status, new Status.CantCreateEndpoint({ status, detail }).codes.rpcStatus!.name)
    }
    for (const status of [1700, 1705, 1706, 1707, 1724] as const) {
      const error = new StringBinding.StringBindingError({ status, input: "", position: 0, detail })
      documented.set(status, error.codes.rpcStatus!.name)
    }
    const written = Array.from(
      page.matchAll(/^\| (\d{1,4}) +\| `(\w+)` /gm),
      ([, number, name]) => [Number(number), name]
    )
    assert.isAbove(written.length, 25)
    for (const [number, name] of written) assert.strictEqual(name, documented.get(number as number), String(number))
  })

  it("an exit code of the command line: ends the message of a failure that has no error", () => {
    for (const exitCode of Object.values(exitCodes)) {
      if (exitCode === exitCodes.ok) continue
      const failure = { _tag: "Failure" as const, exitCode, message: "It failed (ECONNREFUSED).", advice: "" }
      assert.strictEqual(nameIn(sentenceOf(failure)), `ExitCode${exitCode}`)
    }
    const { message } = new Status.WaitTimeout()
    assert.strictEqual(sentenceOf({ _tag: "Failure", exitCode: 1, message, advice: "" }), message)
  })
})

describe("a clause of a message", () => {
  it("an error with a name: neither name nor full stop is left", () => {
    assert.strictEqual(
      clauseOf(new Status.Win32Error({ code: 5 }).message),
      "The function returned 5 (ERROR_ACCESS_DENIED)"
    )
    assert.strictEqual(clauseOf("It failed."), "It failed")
    assert.strictEqual(clauseOf("It failed"), "It failed")
  })
})

// ----------------------------------------------------------------------------
// wrong arguments
// ----------------------------------------------------------------------------

class Untagged extends Error {
  readonly _tag = "Untagged"
}
class Tagged extends Schema.TaggedError<Tagged>()("Tagged", { code: Schema.Int }) {}

const ISums = Interface.make("ISums", { methods: { Add: Interface.method({ in: { a: Schema.Int } }) } })
const IMixed = Interface.make("IMixed", {
  methods: { Add: Interface.method({ in: { a: Schema.Int, b: Ndr.Int32 } }) }
})
const add = { Add: () => Effect.void }
const manager = Manager.make(ISums, add)
const wrong = undefined as never

/** A wrong argument for each function that refuses some, by the begin of its message. */
const refusals: { readonly [start: string]: () => unknown } = {
  'Interface "1st"': () => Interface.make("1st", { methods: {} }),
  'Interface "Sums"': () => Interface.make("Sums", { uuid: Uuid.nil, methods: {} }),
  "Interface.abort(0, Tagged)": () => Interface.abort(0, Tagged),
  "Interface.openAbort": () => Interface.openAbort(Tagged, "other" as never),
  "Interface.method: open aborts": () =>
    Interface.method({ aborts: [Interface.openAbort(Tagged, "code"), Interface.openAbort(Tagged, "code")] }),
  "Abort Untagged": () => Interface.method({ aborts: [Untagged as never] }),
  'ContextHandle "1st"': () => ContextHandle.make("1st"),
  "Manager of ISums: method Add": () => Manager.make(ISums, {} as never),
  "Manager of ISums: access": () => Manager.make(ISums, add, { access: "all" as never }),
  "Manager of ISums: the middleware": () => Manager.middleware(manager, wrong),
  "Manager of ISums: minimumLevel": () => Manager.make(ISums, add, { minimumLevel: "packets" as never }),
  "Server: two managers": () => Server.make([manager, manager]),
  "Status.win32": () => Status.win32(0.5),
  'UUID "x"': () => Uuid.write(new Uint8Array(16), 0, "x", true),
  "Ndr.enum16": () => Ndr.enum16([0.5]),
  "Ndr.fixed": () => Ndr.fixed(Ndr.Uint8, -1),
  "Ndr.range: the type": () => Ndr.range(Schema.String, 0, 1),
  "Ndr.range: 1 to 0": () => Ndr.range(Ndr.Int32, 1, 0),
  "Ndr.sizeIs": () => Ndr.sizeIs([]),
  "Ndr.union": () => Ndr.union(Ndr.Uint8, { one: Ndr.Uint8 }),
  "NDR, ": () => Ndr.codecOf(Ndr.union(Ndr.enum16({ A: 1 }), { B: Ndr.Uint8 })),
  "Endpoint: method Add": () =>
    Effect.flatMap(Server.make([Manager.make(IMixed, add)]), (server) => Endpoint.make(server)),
  "Endpoint: maximumCalls is out of range, got -1, expected an integer from 0 to Infinity": () =>
    Effect.flatMap(Server.make([manager]), (server) => Endpoint.make(server, { maximumCalls: -1 })),
  "Association: maximumQueued": () => Association.make("ncacn_memory:[sums]", { maximumQueued: 0 }),
  "Security: provider": () => Security.make({} as never),
  "Security: target": () => Security.make({ provider: Ntlm.client, credentials: {} as never, target: "" }),
  "Security: credentials": () => Security.make({ provider: Ntlm.client, credentials: wrong }),
  "Negotiate.makeClient: no provider": () => Negotiate.makeClient([]),
  "Negotiate.server": () => Negotiate.server({} as never),
  "callId 0.5": () => Pdu.encodeShutdown(new Pdu.Writer(), { callId: 0.5 })
}

describe("a wrong argument", () => {
  for (const [start, make] of Object.entries(refusals)) {
    it.effect(`${start}: the message ends with the name of the entry`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.suspend(() => {
          const made = make()
          return Effect.isEffect(made) ? made as Effect.Effect<unknown, unknown, Scope.Scope | Transport> : Effect.void
        }).pipe(Effect.scoped, Effect.provide(Memory.layer), Effect.catchDefect(Effect.succeed))
        assert(error instanceof TypeError || error instanceof RangeError, String(error))
        assert.isTrue(error.message.startsWith(start), error.message)
        assert.strictEqual(nameIn(error.message), "InvalidArgument")
      }))
  }

  it("the example of the page: is a message of the library", () => {
    assert.include(page, "Endpoint: maximumCalls is out of range, got -1, expected an integer from 0 to Infinity. (Inv")
  })

  it("no module throws a TypeError with a message of its own", () => {
    const src = new URL("src/", root)
    // These refuse definitions of NDR, which `ndrCodec` names.
    const inner = ["ndr/internal/ndrStream.ts", "ndr/internal/ndrValues.ts", "idl/internal/idlToNdr.ts"]
    const files = (readdirSync(src, { recursive: true }) as Array<string>).map((file) => file.replaceAll("\\", "/"))
    const own = files.filter((file) =>
      file.endsWith(".ts") && /\bnew TypeError\(/.test(readFileSync(new URL(file, src), "utf8"))
    )
    assert.deepStrictEqual(own.sort(), [...inner, "internal/named.ts"].sort())
  })
})
