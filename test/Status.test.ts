import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Equal, Exit, Option, Schema } from "effect"
import { readFileSync } from "node:fs"
import { Status } from "../mod.ts"
import { cancelled, located } from "../src/internal/failures.ts"
import { faults as allFaults, faultsOf, sentAs } from "../src/internal/faultTable.ts"
import { refuseCode, rows, seenAs, toHex } from "../src/internal/statusTable.ts"

const named = { interface: "Desk", uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1a01", detail: "no such version" }

/** Every error with the numbers under which it is documented. */
const errors: ReadonlyArray<{
  readonly error: Status.RpcError
  readonly rpcStatus?: number
  readonly hresult?: number
  readonly says: ReadonlyArray<string>
}> = [
  { error: new Status.CallPending(), rpcStatus: 997, hresult: 0x80010115, says: ["pending"] },
  { error: new Status.CallComplete(), hresult: 0x80010117, says: ["complete"] },
  { error: new Status.CallCancelled(), rpcStatus: 1818, hresult: 0x80010002, says: ["cancelled", "unknown"] },
  {
    error: new Status.CallCancelled({ didNotExecute: true }),
    rpcStatus: 1818,
    hresult: 0x80010002,
    says: ["cancelled", "before the server executed it"]
  },
  { error: new Status.WaitTimeout(), hresult: 0x8001011f, says: ["timed out"] },
  {
    error: new Status.InvalidAsyncHandle({ handle: "call object" }),
    rpcStatus: 1914,
    says: ["call object", "released"]
  },
  {
    error: new Status.InvalidAsyncHandle({ handle: "durable call" }),
    rpcStatus: 1914,
    says: ["no such durable call"]
  },
  { error: new Status.InvalidAsyncHandle({ handle: "server call" }), rpcStatus: 1914, says: ["server call", "ended"] },
  { error: new Status.NoInterface(named), hresult: 0x80004002, says: ["Desk", named.uuid, "no such version"] },
  { error: new Status.UnknownInterface(named), rpcStatus: 1717, says: ["Desk", named.uuid, "no such version"] },
  {
    error: new Status.EndpointNotRegistered(named),
    rpcStatus: 1753,
    says: ["Desk", named.uuid, "no such version", "Start its server"]
  },
  {
    error: new Status.BadStubData({ detail: "The count is no integer." }),
    rpcStatus: 1783,
    says: ["The count is no integer."]
  },
  {
    error: new Status.CancelDisabled({ interface: "Desk", method: "Hold" }),
    hresult: 0x80010140,
    says: ["disabled", "Desk.Hold"]
  },
  { error: new Status.NoSync(), hresult: 0x80010120, says: ["nothing to wait for"] },
  { error: new Status.WrongPipeOrder({ pipe: "file" }), rpcStatus: 1831, says: ["file", "before its turn"] },
  { error: new Status.PipeClosed({ pipe: "file" }), rpcStatus: 1916, says: ["file", "ended"] },
  { error: new Status.PipeDisciplineError({ pipe: "file" }), rpcStatus: 1917, says: ["file", "not through"] },
  { error: new Status.PipeEmpty({ pipe: "file" }), rpcStatus: 1918, says: ["file", "at its end"] },
  {
    error: new Status.CantCreateEndpoint({ status: 1740, detail: "it is in use" }),
    rpcStatus: 1740,
    says: ["RPC_S_DUPLICATE_ENDPOINT", "can't listen", "in use"]
  },
  { error: new Status.ContextMismatch(), rpcStatus: 6, says: ["context handle", "Open another one"] },
  { error: new Status.ContextMismatch({ didNotExecute: true }), rpcStatus: 6, says: ["did not execute"] },
  {
    error: new Status.NullContext({ parameter: "cursor" }),
    rpcStatus: 1775,
    says: ["cursor", "null", "Nothing was sent"]
  },
  {
    error: new Status.RpcTransportError({ status: 1722, detail: "no route" }),
    rpcStatus: 1722,
    says: ["no route", "not executed"]
  },
  {
    error: new Status.RpcTransportError({ status: 1726, detail: "reset" }),
    rpcStatus: 1726,
    says: ["reset", "unknown"]
  },
  {
    error: new Status.RpcTransportError({ status: 1727, detail: "refused" }),
    rpcStatus: 1727,
    says: ["refused", "not executed"]
  },
  { error: new Status.RpcFault({ code: 1702 }), rpcStatus: 1702, says: ["1702", "0x000006A6"] },
  {
    error: new Status.RpcFault({ code: 5, didNotExecute: true }),
    rpcStatus: 5,
    says: ["ERROR_ACCESS_DENIED", "before"]
  }
]

describe("an error", () => {
  for (const { error, hresult, rpcStatus, says } of errors) {
    const name = `${error._tag}${"status" in error ? ` ${error.status}` : "code" in error ? ` ${error.code}` : ""}`
    it(`${name}: carries all its documented numbers`, () => {
      assert.strictEqual(error.codes.rpcStatus?.number, rpcStatus)
      assert.strictEqual(error.codes.hresult?.number, hresult)
      for (const code of Object.values(error.codes)) assert.isAbove(code!.name.length, 0)
    })

    it(`${name}: has a message that a person can read`, () => {
      for (const part of says) assert.include(error.message, part)
      assert.match(error.message, new RegExp(`^[A-Z].*\\. \\(${error._tag}\\)$`))
      assert.notInclude(error.message, "undefined")
    })

    it(`${name}: is made again from its number`, () => {
      const back = Option.getOrThrow(Status.fromNumber(Status.toNumber(error)))
      assert.strictEqual(back._tag, error._tag)
      assert.strictEqual(Status.toNumber(back), Status.toNumber(error))
    })
  }

  it("numbers: have their documented names", () => {
    const names = Object.fromEntries(
      Object.entries(Status.codes).map((
        [tag, codes]
      ) => [tag, [codes.rpcStatus?.name, codes.hresult?.name].filter(Boolean)])
    )
    assert.deepStrictEqual(names, {
      CallPending: ["RPC_S_ASYNC_CALL_PENDING", "RPC_S_CALLPENDING"],
      CallComplete: ["RPC_E_CALL_COMPLETE"],
      CallCancelled: ["RPC_S_CALL_CANCELLED", "RPC_E_CALL_CANCELED"],
      WaitTimeout: ["RPC_E_TIMEOUT"],
      InvalidAsyncHandle: ["RPC_S_INVALID_ASYNC_HANDLE"],
      NoInterface: ["E_NOINTERFACE"],
      UnknownInterface: ["RPC_S_UNKNOWN_IF"],
      EndpointNotRegistered: ["EPT_S_NOT_REGISTERED"],
      BadStubData: ["RPC_X_BAD_STUB_DATA"],
      CancelDisabled: ["CO_E_CANCEL_DISABLED"],
      NoSync: ["RPC_E_NO_SYNC"],
      WrongPipeOrder: ["RPC_X_WRONG_PIPE_ORDER"],
      PipeClosed: ["RPC_X_PIPE_CLOSED"],
      PipeDisciplineError: ["RPC_X_PIPE_DISCIPLINE_ERROR"],
      PipeEmpty: ["RPC_X_PIPE_EMPTY"],
      ContextMismatch: ["RPC_X_SS_CONTEXT_MISMATCH"],
      NullContext: ["RPC_X_SS_IN_NULL_CONTEXT"]
    })
  })

  it("did not execute: stands only where that is certain", () => {
    assert.isFalse(new Status.CallCancelled().didNotExecute)
    assert.isFalse(new Status.RpcFault({ code: 5 }).didNotExecute)
    assert.isTrue(new Status.RpcTransportError({ status: 1722, detail: "" }).didNotExecute)
    assert.isTrue(new Status.RpcTransportError({ status: 1727, detail: "" }).didNotExecute)
    assert.isFalse(new Status.RpcTransportError({ status: 1726, detail: "" }).didNotExecute)
  })
})

describe("a number", () => {
  const expected: ReadonlyArray<readonly [number, Status.RpcError["_tag"]]> = [
    [997, "CallPending"],
    [0x80010115, "CallPending"],
    [0x80010117, "CallComplete"],
    [1818, "CallCancelled"],
    [0x80010002, "CallCancelled"],
    [0x1c00000d, "CallCancelled"],
    [0x8001011f, "WaitTimeout"],
    [1914, "InvalidAsyncHandle"],
    [0x80004002, "NoInterface"],
    [1717, "UnknownInterface"],
    [1783, "BadStubData"],
    [0x80010140, "CancelDisabled"],
    [0x80010120, "NoSync"],
    [1703, "CantCreateEndpoint"],
    [1720, "CantCreateEndpoint"],
    [1740, "CantCreateEndpoint"],
    [1831, "WrongPipeOrder"],
    [0x1c000016, "WrongPipeOrder"],
    [1916, "PipeClosed"],
    [0x1c000015, "PipeClosed"],
    [1917, "PipeDisciplineError"],
    [0x1c000017, "PipeDisciplineError"],
    [1918, "PipeEmpty"],
    [0x1c000014, "PipeEmpty"],
    [1722, "RpcTransportError"],
    [1726, "RpcTransportError"],
    [1727, "RpcTransportError"],
    [6, "ContextMismatch"],
    [0x1c00001a, "ContextMismatch"],
    [1775, "NullContext"],
    [5, "RpcFault"],
    [0x1c000012, "RpcFault"],
    [0xffffffff, "RpcFault"]
  ]
  for (const [number, tag] of expected) {
    it(`number ${number} (0x${number.toString(16)}): is ${tag}`, () => {
      assert.strictEqual(Option.getOrThrow(Status.fromNumber(number))._tag, tag)
    })
  }

  for (const number of [0, -1, 1.5, 0x100000000, NaN, Infinity]) {
    it(`number ${number}: is no error`, () => assert.isTrue(Option.isNone(Status.fromNumber(number))))
  }
})

/** The statuses of faults with their names, and the Win32 code that a client on Windows sees. */
const faults: ReadonlyArray<readonly [number, string, number?]> = [
  [0x1c010001, "nca_s_comm_failure", 1820],
  [0x1c010002, "nca_s_op_rng_error", 1745],
  [0x1c010003, "nca_s_unk_if", 1717],
  [0x1c010006, "nca_s_wrong_boot_time"],
  [0x1c010009, "nca_s_you_crashed", 1726],
  [0x1c01000b, "nca_s_proto_error", 1728],
  [0x1c010013, "nca_s_out_args_too_big", 1130],
  [0x1c010014, "nca_s_server_too_busy", 1723],
  [0x1c010015, "nca_s_fault_string_too_long"],
  [0x1c010017, "nca_s_unsupported_type", 1732],
  [0x1c000001, "nca_s_fault_int_div_by_zero", 1767],
  [0x1c000002, "nca_s_fault_addr_error", 1768],
  [0x1c000003, "nca_s_fault_fp_div_zero", 1769],
  [0x1c000004, "nca_s_fault_fp_underflow", 1770],
  [0x1c000005, "nca_s_fault_fp_overflow", 1771],
  [0x1c000006, "nca_s_fault_invalid_tag", 1733],
  [0x1c000007, "nca_s_fault_invalid_bound", 1734],
  [0x1c000008, "nca_s_rpc_version_mismatch", 1728],
  [0x1c000009, "nca_s_unspec_reject", 1727],
  [0x1c00000a, "nca_s_bad_actid", 1727],
  [0x1c00000b, "nca_s_who_are_you_failed", 1726],
  [0x1c00000c, "nca_s_manager_not_entered", 1727],
  [0x1c00000d, "nca_s_fault_cancel", 1818],
  [0x1c00000e, "nca_s_fault_ill_inst", 1768],
  [0x1c00000f, "nca_s_fault_fp_error", 1771],
  [0x1c000010, "nca_s_fault_int_overflow", 1768],
  [0x1c000012, "nca_s_fault_unspec", 1726],
  [0x1c000013, "nca_s_fault_remote_comm_failure"],
  [0x1c000014, "nca_s_fault_pipe_empty", 1918],
  [0x1c000015, "nca_s_fault_pipe_closed", 1916],
  [0x1c000016, "nca_s_fault_pipe_order", 1831],
  [0x1c000017, "nca_s_fault_pipe_discipline", 1917],
  [0x1c000018, "nca_s_fault_pipe_comm_error", 1820],
  [0x1c000019, "nca_s_fault_pipe_memory", 14],
  [0x1c00001a, "nca_s_fault_context_mismatch", 6],
  [0x1c00001b, "nca_s_fault_remote_no_memory", 1130],
  [0x1c00001c, "nca_s_invalid_pres_context_id"],
  [0x1c00001d, "nca_s_unsupported_authn_level"],
  [0x1c00001f, "nca_s_invalid_checksum"],
  [0x1c000020, "nca_s_invalid_crc"],
  [0x1c000021, "nca_s_fault_user_defined"],
  [0x1c000022, "nca_s_fault_tx_open_failed"],
  [0x1c000023, "nca_s_fault_codeset_conv_error"],
  [0x1c000024, "nca_s_fault_object_not_found"],
  [0x1c000025, "nca_s_fault_no_client_stub"]
]

describe("the status of a fault", () => {
  for (const [number, name, seen] of faults) {
    it(`fault status 0x${number.toString(16).toUpperCase()}: is ${name}`, () => {
      const fault = new Status.RpcFault({ code: number })
      assert.deepInclude(fault.codes.fault, { number, name })
      assert.strictEqual(fault.codes.rpcStatus?.number, seen)
      assert.include(fault.message, name)
      assert.include(fault.message, `0x${number.toString(16).toUpperCase()}`)
    })
  }

  it("status of a fault: is a documented one", () => {
    const byNumber = (a: readonly [number, ...unknown[]], b: readonly [number, ...unknown[]]) => a[0] - b[0]
    assert.deepStrictEqual(
      Status.faults.map(({ name, number, rpcStatus }) => [number, name, rpcStatus] as const).sort(byNumber),
      faults.map(([number, name, seen]) => [number, name, seen] as const).sort(byNumber)
    )
    for (const unused of [0x1c000011, 0x1c00001e]) assert.isUndefined(new Status.RpcFault({ code: unused }).codes.fault)
  })
})

/** Win32 codes that Windows sends as another number; 1728 travels as itself here, for it ends the connection of some clients. */
const sent: ReadonlyArray<readonly [number, number]> = [
  [6, 0x1c00001a],
  [14, 0x1c00001b],
  [1715, 0x1c010014],
  [1717, 0x1c010003],
  [1723, 0x1c010014],
  [1726, 0x1c000012],
  [1727, 0x1c00000c],
  [1732, 0x1c010017],
  [1733, 0x1c000006],
  [1734, 0x1c000007],
  [1745, 0x1c010002],
  [1778, 0x1c00001a],
  [1818, 0x1c00000d],
  [1820, 0x1c010001],
  [1831, 0x1c000016],
  [1916, 0x1c000015],
  [1917, 0x1c000017],
  [1918, 0x1c000014]
]

describe("the table of numbers", () => {
  it("table of numbers: has the fault status of each Win32 code", () => {
    const codes = rows.flatMap(({ codes: { rpcStatus: win32 } }) => win32 === undefined ? [] : [win32.number])
    assert.deepStrictEqual(
      codes.filter((code) => sentAs(code) !== code).map((code) => [code, sentAs(code)]),
      sent.map((pair) => [...pair])
    )
  })

  it("table of numbers: has a row for each code that a client reads", () => {
    const codes = new Set(rows.map(({ codes: { rpcStatus } }) => rpcStatus?.number))
    for (const { name, rpcStatus } of allFaults) assert.isTrue(rpcStatus === undefined || codes.has(rpcStatus), name)
  })

  it("a code of a server: a client sees the code that it reads from the fault", () => {
    for (const { codes: { rpcStatus: win32 } } of rows) {
      if (win32 === undefined) continue
      const sent = sentAs(win32.number)
      const read = allFaults.find(({ number }) => number === sent)?.rpcStatus ?? sent
      assert.strictEqual(seenAs(win32.number), read, win32.name)
    }
  })

  it("table of numbers: holds each number once", () => {
    const codes = [...rows.flatMap(({ codes: { hresult, rpcStatus } }) => [rpcStatus, hresult]), ...allFaults]
    const numbers = codes.flatMap((code) => code === undefined ? [] : [code.number])
    assert.strictEqual(new Set(numbers).size, numbers.length)
  })
})

// ----------------------------------------------------------------------------
// the documentation of the numbers
// ----------------------------------------------------------------------------

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), "utf8")

/** The body of the table in a page that has these columns, without the padding of its cells. */
const tableIn = (page: string, ...columns: ReadonlyArray<string>) => {
  const lines = page.split("\n").map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()))
  const start = lines.findIndex((cells) => cells.join() === columns.join())
  assert.isAtLeast(start, 0, `a table with the columns ${columns.join(", ")}`)
  const end = lines.findIndex((cells, index) => index > start && cells.length === 0)
  return lines.slice(start + 2, end)
}

const inWords = (code: Status.Code | undefined) =>
  code === undefined ? "" : `${code.number < 0x10000 ? code.number : toHex(code.number)} \`${code.name}\``

describe("docs/windows.md", () => {
  const page = read("docs/windows.md")

  it("docs/windows.md: has the numbers of each error", () => {
    const table = tableIn(page, "error", "RPC status", "HRESULT", "fault")
    const documented = Object.fromEntries(table.map(([error, ...numbers]) => [error!.replaceAll("`", ""), numbers]))
    for (const [tag, { fault, hresult, rpcStatus }] of Object.entries(Status.codes)) {
      const status = fault === undefined ? "" : toHex(fault.number)
      assert.deepStrictEqual(documented[tag], [inWords(rpcStatus), inWords(hresult), status], tag)
    }
    const others = ["CantCreateEndpoint", "RpcFault", "RpcTransportError"]
    assert.sameMembers(Object.keys(documented), [...Object.keys(Status.codes), ...others])
  })

  it("docs/windows.md: has the numbers that change on the network, and the codes that are refused", () => {
    const read = (code: number | undefined) => faultsOf(code).map(inWords).join("<br>")
    const expected = rows.flatMap(({ codes: { rpcStatus: win32 } }) => {
      if (win32 === undefined) return []
      const { number } = win32
      const sent = sentAs(number)
      const refused = refuseCode(number) === undefined ? "" : "yes"
      if (read(number) === "" && sent === number && refused === "") return []
      return [[inWords(win32), sent === number ? String(number) : toHex(sent), read(number), refused]]
    })
    assert.deepStrictEqual(tableIn(page, "code", "sent as", "read from", "refused as an abort"), [
      ...expected,
      ["", "", read(undefined), "yes"]
    ])
  })
})

describe("the doc comment of an error", () => {
  const source = read("src/Status.ts")
  for (const [tag, { fault, hresult, rpcStatus }] of Object.entries(Status.codes)) {
    it(`${tag}: has each of its numbers with its name`, () => {
      const comment = source.slice(0, source.indexOf(`export class ${tag} extends`)).split("/**").at(-1)!
      const windows = comment.slice(comment.indexOf("* Windows:")).split("\n *\n")[0]!
      for (const code of [rpcStatus, hresult]) if (code !== undefined) assert.include(windows, inWords(code))
      if (fault !== undefined) assert.include(windows, toHex(fault.number))
    })
  }
})

// ----------------------------------------------------------------------------
// the call that failed
// ----------------------------------------------------------------------------

describe("an error that names its call", () => {
  const call = { interface: "Files", method: "Read", address: "ncacn_ip_tcp:host[135]" }
  const named: ReadonlyArray<Error & { readonly _tag: string }> = [
    new Status.RpcFault({ code: 1723, wireCode: 0x1c010014, didNotExecute: true }),
    new Status.RpcTransportError({ status: 1726, detail: "reset" }),
    new Status.CallCancelled({ didNotExecute: true }),
    new Status.ContextMismatch({ didNotExecute: true }),
    new Status.BadStubData({ detail: "The count is no integer." }),
    new Status.NullContext({ parameter: "cursor" }),
    new Status.WrongPipeOrder({ pipe: "file" }),
    new Status.PipeClosed({ pipe: "file" }),
    new Status.PipeEmpty({ pipe: "file" }),
    new Status.PipeDisciplineError({ pipe: "file" })
  ]

  for (const error of named) {
    it(`${error._tag}: keeps its class and its fields, says the call first, and has no frames of the server`, () => {
      const before = JSON.stringify(error)
      const found = located(error, call)
      assert.strictEqual(found.constructor, error.constructor)
      assert.instanceOf(found, Error)
      assert.deepInclude(found, { ...JSON.parse(before), ...call })
      assert.strictEqual(found.message, `Files.Read at ncacn_ip_tcp:host[135]: ${error.message}`)
      assert.strictEqual(found.stack, String(found))
      assert.strictEqual(JSON.stringify(error), before, "the error itself is unchanged")
    })

    it(`${error._tag}: is equal to another one of the same call, and passes through its schema`, () => {
      const Class = error.constructor as (new (fields: object) => Error) & Schema.Codec<object>
      const found = located(error, call)
      // Bun counts the line that made an error among its fields.
      const [first, second, other] = [call, call, { ...call, method: "Write" }].map((call) => located(error, call))
      assert.isTrue(Equal.equals(first, second))
      assert.isFalse(Equal.equals(first, other))
      const made = new Class({ ...error, ...call }) as typeof found
      assert.deepStrictEqual(found, made)
      if (!("Bun" in globalThis)) assert.isTrue(Equal.equals(found, made))
      const encoded = Schema.encodeUnknownSync(Class)(found)
      assert.deepStrictEqual(encoded, { ...found })
      assert.deepStrictEqual(Schema.decodeUnknownSync(Class)(JSON.parse(JSON.stringify(encoded))), found)
      assert.deepStrictEqual(JSON.parse(JSON.stringify(found)), { ...JSON.parse(JSON.stringify(error)), ...call })
    })
  }

  it.effect("error that names its call: fails an effect, and is caught by its tag", () =>
    Effect.gen(function* () {
      const failing: Effect.Effect<never, Status.RpcFault> = located(new Status.RpcFault({ code: 5 }), call)
      const { code, method } = yield* Effect.catchTag(failing, "RpcFault", (fault) => Effect.succeed(fault))
      assert.deepStrictEqual([code, method], [5, "Read"])
    }))

  it("named again: has the later call", () => {
    const first = located(new Status.RpcFault({ code: 5 }), call)
    const second = located(first, { interface: "Shop", method: "Pay" })
    assert.deepInclude(second, { interface: "Shop", method: "Pay", address: call.address })
    assert.strictEqual(first.interface, "Files")
  })

  it("parts that are unknown: neither in the message nor among the fields", () => {
    const fault = new Status.RpcFault({ code: 5 })
    assert.match(located(fault, { interface: "Files", method: "Read" }).message, /^Files\.Read: The server/)
    assert.match(located(fault, { address: "local" }).message, /^local: The server/)
    assert.strictEqual(located(fault, {}).message, fault.message)
    assert.deepStrictEqual(Object.keys(located(fault, {})), Object.keys(fault))
  })

  it("given another stack, as tools do: has that", () => {
    const found = located(cancelled(true), call)
    found.stack = "elsewhere"
    assert.strictEqual(found.stack, "elsewhere")
    assert.notInclude(Object.keys(found), "stack")
  })

  it("pretty-printed in a cause: says the call", () => {
    const cause = Cause.pretty(Cause.fail(located(new Status.RpcFault({ code: 5 }), call)))
    assert.include(cause, "Files.Read at ncacn_ip_tcp:host[135]: The server ended the call")
  })

  it("a declared abort or a refusal: is given back as it is", () => {
    class EndOfFile extends Schema.TaggedError<EndOfFile>()("EndOfFile", {}) {}
    for (const error of [new EndOfFile(), new Status.CallPending(), new Error("another"), undefined]) {
      assert.strictEqual(located(error, call), error)
    }
  })
})

describe("results", () => {
  const fails = <E>(checked: Effect.Effect<number, E>) => Effect.flip(checked)

  it.effect("accept that is no array: refused by name", () =>
    Effect.gen(function* () {
      for (const accept of [5, "234", null, new Set([234])]) {
        const exit = yield* Effect.exit(Status.win32(5, { accept: accept as never }))
        assert.isTrue(Exit.isFailure(exit) && /Status\.win32: accept is an array/.test(`${Cause.squash(exit.cause)}`))
      }
    }))

  it.effect("a Win32 code of 0, or one that is accepted: succeeds with the number", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* Status.win32(0), 0)
      assert.strictEqual(yield* Status.win32(234, { accept: [259, 234] }), 234)
    }))

  it.effect("another Win32 code: fails with the code, its name and a sentence", () =>
    Effect.gen(function* () {
      const error = yield* fails(Status.win32(5, { accept: [234] }))
      assert.deepStrictEqual([error._tag, error.code, error.codeName], ["Win32Error", 5, "ERROR_ACCESS_DENIED"])
      assert.strictEqual(error.message, "The function returned 5 (ERROR_ACCESS_DENIED). (Win32Error)")
      for (
        const [code, name] of [
          [2, "ERROR_FILE_NOT_FOUND"],
          [6, "ERROR_INVALID_HANDLE"],
          [87, "ERROR_INVALID_PARAMETER"],
          [1060, "ERROR_SERVICE_DOES_NOT_EXIST"],
          [1722, "RPC_S_SERVER_UNAVAILABLE"],
          [2310, "NERR_NetNameNotFound"],
          [54321, undefined]
        ] as const
      ) assert.strictEqual((yield* fails(Status.win32(code))).codeName, name)
      assert.strictEqual((yield* fails(Status.win32(54321))).message, "The function returned 54321. (Win32Error)")
    }))

  it.effect("an NTSTATUS: success and information succeed, warnings and errors fail, signed or unsigned", () =>
    Effect.gen(function* () {
      for (const code of [0, 0x105, 0x40000000, 0x7fffffff]) assert.strictEqual(yield* Status.ntStatus(code), code)
      for (const code of [0xc0000022, 0xc0000022 | 0]) {
        const error = yield* fails(Status.ntStatus(code))
        assert.deepStrictEqual([error._tag, error.code], ["NtStatusError", 0xc0000022])
        assert.strictEqual(error.message, "The function returned 0xC0000022 (STATUS_ACCESS_DENIED). (NtStatusError)")
      }
      assert.strictEqual((yield* fails(Status.ntStatus(0x80000005))).codeName, "STATUS_BUFFER_OVERFLOW")
      assert.strictEqual(yield* Status.ntStatus(0x80000005 | 0, { accept: [0x80000005] }), 0x80000005)
    }))

  it.effect("an HRESULT: what is not negative succeeds, signed or unsigned", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* Status.hresult(1), 1)
      for (const code of [0x80004005, 0x80004005 | 0]) {
        const error = yield* fails(Status.hresult(code))
        assert.deepStrictEqual([error._tag, error.code, error.codeName], ["HresultError", 0x80004005, "E_FAIL"])
      }
      assert.strictEqual((yield* fails(Status.hresult(0x80070002))).codeName, "ERROR_FILE_NOT_FOUND")
      assert.strictEqual(
        (yield* fails(Status.hresult(0x88990001))).message,
        "The function returned 0x88990001. (HresultError)"
      )
    }))

  it.effect("no 32-bit integer: a defect that names it", () =>
    Effect.gen(function* () {
      for (const code of [NaN, 1.5, 2 ** 32, -(2 ** 31) - 1]) {
        const exit = yield* Effect.exit(Status.win32(code))
        assert.include(String(exit), `Status.win32: a code is a 32-bit integer, got ${code}.`)
      }
    }))
})
