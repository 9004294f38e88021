import { assert, describe, it } from "@effect/vitest"
import fc from "fast-check"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import { budgetOf, report, seed } from "../budget.ts"

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")

const bytesOf = (text: string): Uint8Array =>
  Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16))

const range = (length: number): Uint8Array => Uint8Array.from({ length }, (_, index) => index * 7 + 1)

const written = (write: (writer: Pdu.Writer) => void, littleEndian = true): Uint8Array => {
  const writer = new Pdu.Writer({ littleEndian })
  write(writer)
  return writer.take()
}

const writeStub = (writer: Pdu.Writer, stub: Uint8Array): void => {
  writer.ensure(stub.length)
  writer.bytes.set(stub, writer.position)
  writer.position += stub.length
}

const request = (options: {
  readonly stub?: Uint8Array
  readonly object?: string
  readonly maxRecvFrag?: number
  readonly authTrailer?: Pdu.AuthTrailer
  readonly littleEndian?: boolean
}): Uint8Array =>
  written((writer) => {
    Pdu.beginRequest(writer, { callId: 5, contextId: 1, opnum: 9, object: options.object })
    writeStub(writer, options.stub ?? new Uint8Array(0))
    Pdu.endMessage(writer, options.maxRecvFrag ?? Pdu.defaultFragment, options.authTrailer)
  }, options.littleEndian)

const parse = (bytes: Uint8Array, options?: { readonly maxFragment?: number; readonly owned?: boolean }) =>
  Pdu.makeParser({ maxFragment: Pdu.defaultFragment, ...options }).push(bytes)

const pduOf = (bytes: Uint8Array): Pdu.Pdu => {
  const pdu = Pdu.decode(bytes)
  if (pdu._tag === "PduError") throw new Error(`${pdu.reason}: ${pdu.message}`)
  return pdu
}

const reasonOf = (pdu: Pdu.Pdu | Pdu.PduError | undefined): string | undefined =>
  pdu?._tag === "PduError" ? pdu.reason : pdu?._tag

/** The bytes with some of them changed. */
const patched = (bytes: Uint8Array, changes: { readonly [offset: number]: number }): Uint8Array => {
  const copy = bytes.slice()
  for (const [offset, byte] of Object.entries(changes)) copy[Number(offset)] = byte
  return copy
}

const signature: Pdu.AuthTrailer = { authType: 10, authLevel: 5, authContextId: 0x12345678, authValue: range(16) }

const mgmt: Pdu.SyntaxId = { uuid: "afa8bd80-7d8a-11c9-bef4-08002b102989", major: 1, minor: 0 }

const single = { flags: 0x03, littleEndian: true, authTrailer: undefined }

const goldens: ReadonlyArray<
  { readonly name: string; readonly bytes: string; readonly pdu: Pdu.Pdu; readonly write: (writer: Pdu.Writer) => void }
> = [
  {
    name: "bind",
    bytes: "05000b03100000004800000001000000d016d01600000000010000000000010080bda8af8a7dc911bef408002b102989" +
      "01000000045d888aeb1cc9119fe808002b10486002000000",
    pdu: {
      _tag: "Bind",
      ...single,
      callId: 1,
      maxXmitFrag: 5840,
      maxRecvFrag: 5840,
      assocGroupId: 0,
      contextElements: [{ contextId: 0, abstractSyntax: mgmt, transferSyntaxes: [Pdu.ndr20] }]
    },
    write: (writer) =>
      Pdu.encodeBind(writer, {
        callId: 1,
        maxXmitFrag: 5840,
        maxRecvFrag: 5840,
        assocGroupId: 0,
        contextElements: [{ contextId: 0, abstractSyntax: mgmt, transferSyntaxes: [Pdu.ndr20] }]
      })
  },
  {
    name: "bind_ack",
    bytes: "05000c03100000003c00000001000000d016d0166310000004003133350000000100000000000000045d888aeb1cc911" +
      "9fe808002b10486002000000",
    pdu: {
      _tag: "BindAck",
      ...single,
      callId: 1,
      maxXmitFrag: 5840,
      maxRecvFrag: 5840,
      assocGroupId: 0x1063,
      secAddr: "135",
      results: [{ result: 0, reason: 0, transferSyntax: Pdu.ndr20 }]
    },
    write: (writer) =>
      Pdu.encodeBindAck(writer, {
        callId: 1,
        maxXmitFrag: 5840,
        maxRecvFrag: 5840,
        assocGroupId: 0x1063,
        secAddr: "135",
        results: [{ result: 0, reason: 0, transferSyntax: Pdu.ndr20 }]
      })
  },
  {
    name: "request without stub",
    bytes: "050000031000000018000000020000000000000000000200",
    pdu: {
      _tag: "Request",
      ...single,
      callId: 2,
      allocHint: 0,
      contextId: 0,
      opnum: 2,
      object: undefined,
      stub: new Uint8Array(0)
    },
    write: (writer) => {
      Pdu.beginRequest(writer, { callId: 2, contextId: 0, opnum: 2 })
      Pdu.endMessage(writer, 5840)
    }
  },
  {
    name: "response with 8 bytes of stub",
    bytes: "0500020310000000200000000200000008000000000000000000000001000000",
    pdu: {
      _tag: "Response",
      ...single,
      callId: 2,
      allocHint: 8,
      contextId: 0,
      cancelCount: 0,
      stub: Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 0)
    },
    write: (writer) => {
      Pdu.beginResponse(writer, { callId: 2, contextId: 0, cancelCount: 0 })
      writeStub(writer, Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 0))
      Pdu.endMessage(writer, 5840)
    }
  },
  {
    name: "fault",
    bytes: "0500032310000000200000000300000018000000000000000200011c00000000",
    pdu: {
      _tag: "Fault",
      ...single,
      flags: 0x23,
      callId: 3,
      allocHint: 24,
      contextId: 0,
      cancelCount: 0,
      extendedError: false,
      status: 0x1c010002,
      stub: new Uint8Array(0)
    },
    write: (writer) =>
      Pdu.encodeFault(writer, {
        callId: 3,
        flags: Pdu.flags.didNotExecute,
        contextId: 0,
        cancelCount: 0,
        status: 0x1c010002
      })
  },
  {
    name: "co_cancel",
    bytes: "05001203100000001000000002000000",
    pdu: { _tag: "CoCancel", ...single, callId: 2 },
    write: (writer) => Pdu.encodeCoCancel(writer, { callId: 2 })
  },
  {
    name: "orphaned",
    bytes: "05001303100000001000000002000000",
    pdu: { _tag: "Orphaned", ...single, callId: 2 },
    write: (writer) => Pdu.encodeOrphaned(writer, { callId: 2 })
  },
  {
    name: "bind_nak with one version and three bytes of padding",
    bytes: "05000d0310000000180000000100000004000105" + "00000000",
    pdu: { _tag: "BindNak", ...single, callId: 1, rejectReason: 4, protocols: [{ major: 5, minor: 0 }] },
    write: (writer) => Pdu.encodeBindNak(writer, { callId: 1, rejectReason: 4 })
  },
  {
    name: "alter_context_resp without secondary address",
    bytes: "05000f03100000003800000004000000d016d01663100000000000000100000002000100" + "00".repeat(20),
    pdu: {
      _tag: "AlterContextResponse",
      ...single,
      callId: 4,
      maxXmitFrag: 5840,
      maxRecvFrag: 5840,
      assocGroupId: 0x1063,
      secAddr: "",
      results: [{ result: 2, reason: 1, transferSyntax: Pdu.nilSyntax }]
    },
    write: (writer) =>
      Pdu.encodeAlterContextResponse(writer, {
        callId: 4,
        maxXmitFrag: 5840,
        maxRecvFrag: 5840,
        assocGroupId: 0x1063,
        results: [{ result: 2, reason: 1, transferSyntax: Pdu.nilSyntax }]
      })
  },
  {
    name: "auth3",
    bytes: "05001003100000002000040006000000000000000a05000078563412" + "deadbeef",
    pdu: {
      _tag: "Auth3",
      ...single,
      callId: 6,
      authTrailer: {
        authType: 10,
        authLevel: 5,
        authContextId: 0x12345678,
        authValue: bytesOf("deadbeef"),
        authPadLength: 0,
        fragment: bytesOf("05001003100000002000040006000000000000000a05000078563412" + "deadbeef")
      }
    },
    write: (writer) =>
      Pdu.encodeAuth3(writer, { callId: 6, authTrailer: { ...signature, authValue: bytesOf("deadbeef") } })
  },
  {
    name: "shutdown",
    bytes: "05001103100000001000000000000000",
    pdu: { _tag: "Shutdown", ...single, callId: 0 },
    write: (writer) => Pdu.encodeShutdown(writer, { callId: 0 })
  },
  {
    name: "request with an object, a padded stub and a signature",
    bytes: "050000831000000050001000070000000300000001000900" + "785634123412cdabef0123456789abcd" +
      "010203" + "00".repeat(13) + "0a050d0078563412" + hex(range(16)),
    pdu: {
      _tag: "Request",
      ...single,
      flags: 0x83,
      callId: 7,
      authTrailer: {
        ...signature,
        authPadLength: 13,
        fragment: bytesOf(
          "050000831000000050001000070000000300000001000900" + "785634123412cdabef0123456789abcd" +
            "010203" + "00".repeat(13) + "0a050d0078563412" + hex(range(16))
        )
      },
      allocHint: 3,
      contextId: 1,
      opnum: 9,
      object: "12345678-1234-abcd-ef01-23456789abcd",
      stub: Uint8Array.of(1, 2, 3)
    },
    write: (writer) => {
      Pdu.beginRequest(writer, {
        callId: 7,
        contextId: 1,
        opnum: 9,
        object: "12345678-1234-abcd-ef01-23456789abcd"
      })
      writeStub(writer, Uint8Array.of(1, 2, 3))
      Pdu.endMessage(writer, 5840, signature)
    }
  }
]

const golden = (name: string): Uint8Array => bytesOf(goldens.find((golden) => golden.name === name)!.bytes)

describe("the bytes of known PDUs", () => {
  for (const { bytes, name, pdu, write } of goldens) {
    it(`${name}: decodes`, () => assert.deepStrictEqual(Pdu.decode(bytesOf(bytes)), pdu))

    it(`${name}: encodes`, () => assert.strictEqual(hex(written(write)), bytes))

    it(`${name} cut short: is incomplete, and never a PDU`, () => {
      const all = bytesOf(bytes)
      for (let length = 0; length < all.length; length++) {
        const cut = all.subarray(0, length)
        assert.strictEqual(reasonOf(Pdu.decode(cut)), "Truncated", `${length} bytes`)
        const parser = Pdu.makeParser({ maxFragment: Pdu.defaultFragment })
        assert.deepStrictEqual(parser.push(cut), [])
        assert.strictEqual(parser.buffered, length)
      }
    })

    it(`${name} with a smaller stated size: is refused, or has a smaller stub`, () => {
      const all = bytesOf(bytes)
      for (let length = Pdu.headerSize; length < all.length; length++) {
        const cut = patched(all.subarray(0, length), { 8: length & 0xff, 9: length >> 8 })
        const pdu = Pdu.decode(cut)
        if (pdu._tag === "PduError" || pdu._tag === "Fault" && length === 28) continue
        // Only what ends with bytes of any number can end earlier.
        assert.include(["Request", "Response", "BindNak"], pdu._tag)
        if (pdu._tag !== "BindNak") assert.isBelow((pdu as Pdu.Request).stub.length, all.length)
      }
    })
  }

  const all = bytesOf(goldens.map(({ bytes }) => bytes).join(""))
  const expected = goldens.map(({ pdu }) => pdu)

  it("stream split anywhere: gives the same PDUs", () => {
    for (const owned of [false, true]) {
      for (let split = 0; split <= all.length; split++) {
        const parser = Pdu.makeParser({ maxFragment: Pdu.defaultFragment, owned })
        const pdus = [...parser.push(all.slice(0, split)), ...parser.push(all.slice(split))]
        assert.deepStrictEqual(pdus, expected, `split at ${split}`)
        assert.strictEqual(parser.buffered, 0)
      }
    }
  })

  it("stream byte by byte: gives the same PDUs", () => {
    const parser = Pdu.makeParser({ maxFragment: Pdu.defaultFragment })
    assert.deepStrictEqual(Array.from(all).flatMap((byte) => parser.push(Uint8Array.of(byte))), expected)
  })

  it("buffer with old bytes: the written PDUs do not depend on them", () => {
    const writer = new Pdu.Writer()
    writer.ensure(1)
    writer.bytes.fill(0xff)
    for (const { write } of goldens) write(writer)
    assert.strictEqual(hex(writer.take()), hex(all))
  })

  it("several PDUs: can be written one behind another", () => {
    const writer = new Pdu.Writer()
    for (const { write } of goldens) write(writer)
    assert.strictEqual(hex(writer.take()), hex(all))
    assert.strictEqual(writer.take().length, 0)
  })
})

// ----------------------------------------------------------------------------
// round trips
// ----------------------------------------------------------------------------

const byte = fc.nat({ max: 0xff })
const short = fc.nat({ max: 0xffff })
const long = fc.nat({ max: 0xffffffff })
const syntax = fc.record({ uuid: fc.uuid({ version: [1, 4] }), major: short, minor: short })
const trailer = fc.record({
  authType: byte,
  authLevel: byte,
  authContextId: long,
  authValue: fc.uint8Array({ minLength: 1, maxLength: 60 })
})
const common = { callId: long, flags: byte, authTrailer: fc.option(trailer, { nil: undefined }) }
const stub = fc.uint8Array({ maxLength: 300 })
const contexts = fc.record({
  ...common,
  maxXmitFrag: short,
  maxRecvFrag: short,
  assocGroupId: long,
  contextElements: fc.array(
    fc.record({ contextId: short, abstractSyntax: syntax, transferSyntaxes: fc.array(syntax, { maxLength: 4 }) }),
    { maxLength: 5 }
  )
})
const acknowledged = fc.record({
  ...common,
  maxXmitFrag: short,
  maxRecvFrag: short,
  assocGroupId: long,
  results: fc.array(fc.record({ result: short, reason: short, transferSyntax: syntax }), { maxLength: 5 })
})

/** A way to write a PDU, with the PDU that it is expected to be. */
interface Written {
  readonly write: (writer: Pdu.Writer) => void
  readonly tag: Pdu.Pdu["_tag"]
  readonly fields: { readonly flags: number; readonly authTrailer?: Pdu.AuthTrailer | undefined }
}

const pdusOf = <F extends Written["fields"]>(
  tag: Pdu.Pdu["_tag"],
  fields: fc.Arbitrary<F>,
  write: (writer: Pdu.Writer, fields: F) => void,
  computed: (fields: F) => object = () => ({})
): fc.Arbitrary<Written> =>
  fields.map((fields) => ({
    tag,
    fields: { ...fields, flags: fields.flags | 0x03, ...computed(fields) },
    write: (writer) => write(writer, fields)
  }))

const anyPdu: fc.Arbitrary<Written> = fc.oneof(
  pdusOf(
    "Request",
    fc.record({ ...common, contextId: short, opnum: short, object: fc.option(fc.uuid(), { nil: undefined }), stub }),
    (writer, fields) => {
      Pdu.beginRequest(writer, fields)
      writeStub(writer, fields.stub)
      Pdu.endMessage(writer, Pdu.minFragment, fields.authTrailer)
    },
    ({ flags, object, stub }) => ({
      flags: object === undefined ? (flags | 0x03) & 0x7f : flags | 0x83,
      allocHint: stub.length
    })
  ),
  pdusOf("Response", fc.record({ ...common, contextId: short, cancelCount: byte, stub }), (writer, fields) => {
    Pdu.beginResponse(writer, fields)
    writeStub(writer, fields.stub)
    Pdu.endMessage(writer, Pdu.minFragment, fields.authTrailer)
  }, ({ stub }) => ({ allocHint: stub.length })),
  pdusOf("Fault", fc.record({ ...common, contextId: short, cancelCount: byte, status: long }), Pdu.encodeFault, () => ({
    allocHint: 24,
    extendedError: false,
    stub: new Uint8Array(0)
  })),
  pdusOf("Bind", contexts, Pdu.encodeBind),
  pdusOf("AlterContext", contexts, Pdu.encodeAlterContext),
  pdusOf(
    "BindAck",
    fc.tuple(acknowledged, fc.string({ maxLength: 20 })).map(([fields, text]) => ({
      ...fields,
      secAddr: Array.from(text).filter((character) => character > "\0" && character <= "\xff").join("")
    })),
    Pdu.encodeBindAck
  ),
  pdusOf("AlterContextResponse", acknowledged, Pdu.encodeAlterContextResponse, () => ({ secAddr: "" })),
  pdusOf("BindNak", fc.record({ callId: long, flags: byte, rejectReason: short }), Pdu.encodeBindNak, () => ({
    authTrailer: undefined,
    protocols: [{ major: 5, minor: 0 }]
  })),
  pdusOf("Auth3", fc.record({ callId: long, flags: byte, authTrailer: trailer }), Pdu.encodeAuth3),
  pdusOf("CoCancel", fc.record(common), Pdu.encodeCoCancel),
  pdusOf("Orphaned", fc.record(common), Pdu.encodeOrphaned),
  pdusOf("Shutdown", fc.record({ callId: long, flags: byte }), Pdu.encodeShutdown, () => ({ authTrailer: undefined }))
)

describe("any PDU", () => {
  const numRuns = budgetOf(10_000)

  it(`random PDUs, both byte orders: come back as they were written, seed ${seed}`, () => {
    fc.assert(
      fc.property(anyPdu, fc.boolean(), ({ fields, tag, write }, littleEndian) => {
        const bytes = written(write, littleEndian)
        assert.strictEqual(bytes.length, bytes[littleEndian ? 8 : 9]! + 256 * bytes[littleEndian ? 9 : 8]!)
        const decoded = pduOf(bytes)
        const { authTrailer, ...rest } = decoded
        const { authTrailer: wanted, ...others } = fields
        assert.deepStrictEqual(rest as object, { _tag: tag, littleEndian, ...others })
        if (wanted === undefined) return assert.isUndefined(authTrailer)
        const { authPadLength, fragment, ...received } = authTrailer!
        assert.deepStrictEqual(received, wanted)
        assert.deepStrictEqual(fragment, bytes)
        assert.strictEqual(authPadLength, "stub" in decoded ? -decoded.stub.length & 15 : 0)
      }),
      { seed, numRuns }
    )
    report("PDUs", `${numRuns} of them`)
  })

  it(`random messages in fragments: come back as they were written, seed ${seed}`, () => {
    const longStub = fc.nat({ max: 20_000 }).map(range)
    const size = fc.integer({ min: 200, max: 6000 })
    const authTrailer = fc.option(trailer, { nil: undefined })
    const object = fc.option(fc.uuid(), { nil: undefined })
    fc.assert(
      fc.property(
        longStub,
        size,
        authTrailer,
        object,
        fc.boolean(),
        (stub, limit, authTrailer, object, littleEndian) => {
          const bytes = written((writer) => {
            Pdu.beginRequest(writer, { callId: 5, contextId: 1, opnum: 9, flags: 0x10, object })
            writeStub(writer, stub)
            Pdu.endMessage(writer, limit, authTrailer)
          }, littleEndian)
          const fragments = parse(bytes, { maxFragment: limit, owned: true }) as ReadonlyArray<Pdu.Request>
          let open: Pdu.Assembly<Pdu.Request> | undefined = undefined
          let remaining = stub.length
          for (const [index, fragment] of fragments.entries()) {
            const isLast = index === fragments.length - 1
            assert.strictEqual(fragment._tag, "Request")
            assert.strictEqual(fragment.allocHint, remaining)
            assert.strictEqual(fragment.object, object)
            assert.deepStrictEqual(fragment.authTrailer?.authValue, authTrailer?.authValue)
            assert.strictEqual(fragment.flags & 0x13, 0x10 | (index === 0 ? 1 : 0) | (isLast ? 2 : 0))
            if (!isLast) assert.strictEqual(fragment.stub.length % 16, 0)
            remaining -= fragment.stub.length
            const added: Pdu.Request | Pdu.Assembly<Pdu.Request> | Pdu.PduError = Pdu.assemble(open, fragment, 20_000)
            if (added._tag === "PduError") return assert.fail(added.message)
            assert.strictEqual(added._tag, isLast ? "Request" : "Assembly")
            if (added._tag === "Assembly") open = added
            else assert.deepStrictEqual(added.stub, stub)
          }
          assert.strictEqual(remaining, 0)
        }
      ),
      { seed, numRuns: budgetOf(500) }
    )
  })
})

// ----------------------------------------------------------------------------
// refusals
// ----------------------------------------------------------------------------

describe("a header is refused", () => {
  const plain = golden("request without stub")

  const cases: ReadonlyArray<readonly [string, string, Uint8Array]> = [
    ["of version 4", "Version", patched(plain, { 0: 4 })],
    ["of version 5.2", "Version", patched(plain, { 1: 2 })],
    ["in EBCDIC", "DataRepresentation", patched(plain, { 4: 0x11 })],
    ["with an unknown byte order", "DataRepresentation", patched(plain, { 4: 0x20 })],
    ["with VAX floats", "DataRepresentation", patched(plain, { 5: 1 })],
    ["with an unknown type", "UnknownType", patched(plain, { 2: 21 })],
    ["with the type of RPC over HTTP", "UnknownType", patched(plain, { 2: 20 })],
    ["with the highest type", "UnknownType", patched(plain, { 2: 255 })],
    ["of 0 bytes", "FragmentLength", patched(plain, { 8: 0 })],
    ["of 15 bytes", "FragmentLength", patched(plain, { 8: 15 })],
    ["smaller than its type needs", "FragmentLength", patched(plain, { 8: 23 })],
    ["of a request with an object and no room for it", "FragmentLength", patched(plain, { 3: 0x83 })],
    ["with a trailer that begins in the header", "AuthTrailer", patched(plain, { 10: 1 })],
    ["with the longest trailer", "AuthTrailer", patched(plain, { 10: 0xff, 11: 0xff })],
    [
      "of a bind_nak with a trailer",
      "AuthTrailer",
      patched(golden("bind_nak with one version and three bytes of padding"), { 10: 1 })
    ],
    ["of a shutdown with a trailer", "AuthTrailer", patched(golden("shutdown"), { 10: 1 })],
    ["of a bind_ack without the last fragment flag", "Flags", patched(golden("bind_ack"), { 3: 0x01 })]
  ]
  for (const [what, reason, bytes] of cases) {
    it(`header, ${what}: ${reason}`, () => {
      const error = Pdu.decode(bytes)
      assert.strictEqual(reasonOf(error), reason)
      // The parser says it as soon as it has the header.
      assert.deepStrictEqual(parse(bytes.subarray(0, Pdu.headerSize)), [error])
    })
  }

  for (const ptype of [1, 4, 5, 6, 7, 8, 9, 10]) {
    it(`header with type ${ptype} of connectionless transports: is refused`, () =>
      assert.strictEqual(reasonOf(Pdu.decode(patched(plain, { 2: ptype }))), "ConnectionlessType"))
  }

  it("refused header: the refusal has its call id and type", () => {
    const error = Pdu.decode(patched(plain, { 1: 9 })) as Pdu.PduError
    assert.deepInclude(error, { callId: 2, ptype: 0 })
    const swapped = request({ littleEndian: false })
    assert.deepInclude(Pdu.decode(patched(swapped, { 1: 9 })) as Pdu.PduError, { callId: 5, ptype: 0 })
  })

  it("header with version 5.1, reserved flags or a bind without flags: is accepted", () => {
    assert.strictEqual(reasonOf(Pdu.decode(patched(plain, { 1: 1 }))), "Request")
    assert.strictEqual(reasonOf(Pdu.decode(patched(plain, { 3: 0x0b }))), "Request")
    assert.strictEqual(reasonOf(Pdu.decode(patched(golden("bind"), { 3: 0 }))), "Bind")
  })
})

describe("a body is refused", () => {
  const bind = golden("bind")
  const ack = golden("bind_ack")
  const nak = golden("bind_nak with one version and three bytes of padding")

  const longer = (bytes: Uint8Array, more: number) => {
    const all = new Uint8Array(bytes.length + more)
    all.set(bytes)
    return patched(all, { 8: all.length & 0xff, 9: all.length >> 8 })
  }

  const cases: ReadonlyArray<readonly [string, string, Uint8Array]> = [
    ["bind with 2 contexts and bytes for one", "Truncated", patched(bind, { 24: 2 })],
    ["bind with 255 contexts and nothing behind", "Truncated", patched(bind.subarray(0, 28), { 8: 28, 24: 255 })],
    ["bind with 255 contexts and bytes for one", "Truncated", patched(bind, { 24: 255 })],
    ["bind with 255 transfer syntaxes and bytes for one", "Truncated", patched(bind, { 30: 255 })],
    ["bind with 0 contexts and bytes for one", "Trailing", patched(bind, { 24: 0 })],
    ["bind with bytes behind", "Trailing", longer(bind, 1)],
    ["bind_ack with 255 results and bytes for one", "Truncated", patched(ack, { 32: 255 })],
    ["bind_ack with a secondary address past the end", "Truncated", patched(ack, { 24: 0xff, 25: 0xff })],
    ["bind_ack with a secondary address up to the end", "Truncated", patched(ack, { 24: 60 - 26 })],
    ["bind_ack with bytes behind", "Trailing", longer(ack, 4)],
    ["bind_nak with 255 versions and bytes for one", "Truncated", patched(nak, { 18: 255 })],
    ["bind_nak with one version too many", "Truncated", patched(nak, { 18: 3 })]
  ]
  for (const [what, reason, bytes] of cases) {
    it(`body, ${what}: ${reason}`, () => assert.strictEqual(reasonOf(Pdu.decode(bytes)), reason))
  }

  it("more padding than stub: is refused", () => {
    const signed = request({ stub: range(16), authTrailer: signature })
    for (const [padding, expected] of [[16, "Request"], [17, "AuthTrailer"], [255, "AuthTrailer"]] as const) {
      assert.strictEqual(reasonOf(Pdu.decode(patched(signed, { 42: padding }))), expected)
    }
    assert.strictEqual((pduOf(patched(signed, { 42: 16 })) as Pdu.Request).stub.length, 0)
    const response = written((writer) => {
      Pdu.beginResponse(writer, { callId: 5, contextId: 1, cancelCount: 0 })
      Pdu.endMessage(writer, Pdu.defaultFragment, signature)
    })
    assert.strictEqual(reasonOf(Pdu.decode(patched(response, { 26: 1 }))), "AuthTrailer")
    const fault = written((writer) =>
      Pdu.encodeFault(writer, { callId: 5, contextId: 1, cancelCount: 0, status: 1, authTrailer: signature })
    )
    assert.strictEqual(reasonOf(Pdu.decode(patched(fault, { 34: 1 }))), "AuthTrailer")
  })

  it("trailer that is not at a multiple of 4: is refused", () => {
    const signed = request({ stub: range(16), authTrailer: signature })
    assert.strictEqual(reasonOf(Pdu.decode(patched(signed, { 10: 15 }))), "Alignment")
  })

  it("no contexts, no transfer syntaxes, status 0, any allocation hint: are left to the server", () => {
    const empty = pduOf(patched(bind.subarray(0, 28), { 8: 28, 24: 0 })) as Pdu.Bind
    assert.deepStrictEqual(empty.contextElements, [])
    const bare = pduOf(patched(bind.subarray(0, 52), { 8: 52, 30: 0 })) as Pdu.Bind
    assert.deepStrictEqual(bare.contextElements, [{ contextId: 0, abstractSyntax: mgmt, transferSyntaxes: [] }])
    assert.strictEqual((pduOf(patched(golden("fault"), { 24: 0, 26: 0, 27: 0 })) as Pdu.Fault).status, 0)
    const hint = pduOf(patched(golden("request without stub"), { 16: 0xff, 17: 0xff, 18: 0xff, 19: 0xff }))
    assert.strictEqual((hint as Pdu.Request).allocHint, 0xffffffff)
  })

  it("extended error information, and padding before a trailer: are accepted", () => {
    assert.strictEqual(reasonOf(Pdu.decode(longer(nak, 40))), "BindNak")
    const fault = pduOf(patched(longer(golden("fault"), 12), { 23: 1 })) as Pdu.Fault
    assert.deepInclude(fault, { extendedError: true, stub: new Uint8Array(12) })
    const padded = written((writer) =>
      Pdu.encodeBind(writer, { ...(goldens[0]!.pdu as Pdu.Bind), authTrailer: signature })
    )
    const bytes = new Uint8Array([...padded.subarray(0, 72), 0, 0, 0, 0, ...padded.subarray(72)])
    assert.strictEqual(reasonOf(Pdu.decode(patched(bytes, { 8: bytes.length, 78: 4 }))), "Bind")
  })

  it("bytes behind a PDU: are refused", () =>
    assert.strictEqual(reasonOf(Pdu.decode(new Uint8Array([...bind, 0]))), "FragmentLength"))
})

// ----------------------------------------------------------------------------
// the parser
// ----------------------------------------------------------------------------

describe("the parser", () => {
  it("parser: accepts a PDU of the limit's size, and refuses one byte more before its body arrives", () => {
    const maxRecvFrag = 2048
    const fits = request({ stub: range(2048 - 24), maxRecvFrag })
    assert.strictEqual(fits.length, 2048)
    assert.strictEqual(reasonOf(parse(fits, { maxFragment: 2048 })[0]), "Request")
    const above = request({ stub: range(2048 - 23) })
    const parser = Pdu.makeParser({ maxFragment: 2048 })
    assert.strictEqual(reasonOf(parser.push(above.subarray(0, 16))[0]), "TooLarge")
    assert.strictEqual(parser.buffered, 0)
  })

  it("parser: accepts a bind of any size", () => {
    const contextElements = Array.from({ length: 255 }, (_, contextId) => ({
      contextId,
      abstractSyntax: mgmt,
      transferSyntaxes: Array.from({ length: 11 }, () => Pdu.ndr20)
    }))
    const fields = { callId: 1, maxXmitFrag: 5840, maxRecvFrag: 5840, assocGroupId: 0, contextElements }
    const bytes = written((writer) => Pdu.encodeBind(writer, fields))
    assert.strictEqual(bytes.length, 28 + 255 * (24 + 11 * 20))
    const [pdu] = parse(bytes, { maxFragment: 2048 })
    assert.strictEqual(reasonOf(pdu), "Bind")
    assert.deepStrictEqual((pdu as Pdu.Bind).contextElements, contextElements)
  })

  it("parser after a failure: gives the PDUs before it, then tells that it is dead", () => {
    const parser = Pdu.makeParser({ maxFragment: Pdu.defaultFragment })
    const good = golden("co_cancel")
    const bad = patched(good, { 0: 71 })
    const result = parser.push(new Uint8Array([...good, ...bad, ...good]))
    assert.deepStrictEqual(result.map(reasonOf), ["CoCancel", "Version"])
    for (const chunk of [good, new Uint8Array(0), range(100_000)]) {
      assert.deepStrictEqual(parser.push(chunk).map(reasonOf), ["Dead"])
    }
    assert.strictEqual(parser.buffered, 0)
  })

  it("parser, empty chunk: gives nothing", () => {
    const parser = Pdu.makeParser({ maxFragment: Pdu.defaultFragment })
    assert.deepStrictEqual(parser.push(new Uint8Array(0)), [])
  })

  it("parser: copies what it gives, unless it owns the chunks", () => {
    const bytes = request({ stub: range(8) })
    for (const owned of [false, true]) {
      const chunk = bytes.slice()
      const [pdu] = parse(chunk, { owned })
      const { stub } = pdu as Pdu.Request
      assert.strictEqual(stub.buffer === chunk.buffer, owned)
      chunk.fill(0)
      assert.deepStrictEqual(stub, owned ? new Uint8Array(8) : range(8))
    }
  })

  it("PDU that spans chunks: is copied into a buffer of its size", () => {
    const bytes = request({ stub: range(1000) })
    for (const split of [1, 15, 16, 17, 24, 1000]) {
      const parser = Pdu.makeParser({ maxFragment: Pdu.defaultFragment, owned: true })
      assert.deepStrictEqual(parser.push(bytes.slice(0, split)), [])
      const [pdu] = parser.push(bytes.slice(split))
      const { stub } = pdu as Pdu.Request
      assert.strictEqual(stub.buffer.byteLength, bytes.length)
      assert.deepStrictEqual(stub, range(1000))
    }
  })

  it("chunks of a subclass of Uint8Array: the PDUs have plain Uint8Arrays", () => {
    class Chunk extends Uint8Array {}
    const bytes = request({ stub: range(8), authTrailer: signature })
    const chunk = new Chunk(bytes.length + 3).subarray(3)
    chunk.set(bytes)
    const [pdu] = parse(chunk, { owned: true })
    const { authTrailer, stub } = pdu as Pdu.Request
    for (const view of [stub, authTrailer!.authValue, authTrailer!.fragment]) {
      assert.strictEqual(Object.getPrototypeOf(view), Uint8Array.prototype)
    }
    assert.deepStrictEqual(stub, range(8))
  })
})

// ----------------------------------------------------------------------------
// fragments
// ----------------------------------------------------------------------------

describe("a message in fragments", () => {
  const fragmentsOf = (bytes: Uint8Array) => parse(bytes) as ReadonlyArray<Pdu.Request>
  const three = fragmentsOf(request({ stub: range(3000), maxRecvFrag: 1432 }))

  const add = (open: Pdu.Assembly<Pdu.Request> | undefined, fragment: Pdu.Request, limit = 0x400000) =>
    Pdu.assemble(open, fragment, limit)

  const opened = (fragment: Pdu.Request): Pdu.Assembly<Pdu.Request> => {
    const added = add(undefined, fragment)
    if (added._tag !== "Assembly") return assert.fail(added._tag)
    return added
  }

  it("message in fragments: is cut at multiples of 8", () => {
    const sizes = (length: number, authTrailer?: Pdu.AuthTrailer) =>
      fragmentsOf(request({ stub: range(length), maxRecvFrag: 1432, ...(authTrailer && { authTrailer }) })).map(
        ({ stub }) => stub.length
      )
    assert.deepStrictEqual(sizes(1408), [1408])
    assert.deepStrictEqual(sizes(1409), [1408, 1])
    assert.deepStrictEqual(sizes(2816), [1408, 1408])
    assert.deepStrictEqual(sizes(2817), [1408, 1408, 1])
    // 1432 - 24 - 8 - 16 = 1384, which is 8 above a multiple of 16.
    assert.deepStrictEqual(sizes(1376, signature), [1376])
    assert.deepStrictEqual(sizes(1377, signature), [1376, 1])
  })

  it("message in fragments: has the fields of its first fragment and the stub of all", () => {
    assert.strictEqual(three.length, 3)
    const message = add(opened(three[0]!), { ...three[1]!, contextId: 77, opnum: 78 })
    const whole = add(message as Pdu.Assembly<Pdu.Request>, three[2]!)
    assert.deepInclude(whole, { _tag: "Request", flags: 0x03, contextId: 1, opnum: 9, allocHint: 3000 })
    assert.deepStrictEqual((whole as Pdu.Request).stub, range(3000))
  })

  it("message in one fragment: comes back as it is", () => {
    const [only] = fragmentsOf(request({ stub: range(10) }))
    assert.strictEqual(add(undefined, only!, 10), only)
    assert.strictEqual(reasonOf(add(undefined, only!, 9) as Pdu.PduError), "MessageTooLarge")
    const hinted = { ...only!, allocHint: 0xffffffff }
    assert.strictEqual(add(undefined, hinted, 10), hinted)
  })

  it("message that begins in the middle, or twice: is refused", () => {
    assert.strictEqual(reasonOf(add(undefined, three[1]!) as Pdu.PduError), "FragmentOrder")
    assert.strictEqual(reasonOf(add(opened(three[0]!), three[0]!) as Pdu.PduError), "FragmentOrder")
  })

  it("fragment of another type or byte order: is refused", () => {
    const other = add(opened(three[0]!), { ...three[1]!, littleEndian: false }) as Pdu.PduError
    assert.strictEqual(reasonOf(other), "FragmentMismatch")
    const [response] = parse(
      patched(golden("response with 8 bytes of stub"), { 3: 0x02 })
    ) as unknown as ReadonlyArray<Pdu.Response>
    const mixed = Pdu.assemble<Pdu.Request | Pdu.Response>(opened(three[0]!), response!, 0x400000)
    assert.strictEqual(reasonOf(mixed as Pdu.PduError), "FragmentMismatch")
  })

  it("message above the limit, or announced above it: is refused", () => {
    const hinted = add(undefined, three[0]!, 2999) as Pdu.PduError
    assert.strictEqual(reasonOf(hinted), "MessageTooLarge")
    const first = { ...three[0]!, allocHint: 0 }
    const second = add(add(undefined, first, 2999) as Pdu.Assembly<Pdu.Request>, three[1]!, 2999)
    const third = add(second as Pdu.Assembly<Pdu.Request>, three[2]!, 2999)
    assert.deepInclude(third, { _tag: "PduError", reason: "MessageTooLarge", callId: 5, ptype: 0 })
    const narrow = add(undefined, first, 2000) as Pdu.Assembly<Pdu.Request>
    assert.strictEqual(narrow.buffer.length, 2000)
  })

  it("message in fragments: takes memory for what has arrived, not for what was announced", () => {
    let open = opened({ ...three[0]!, allocHint: 0x400000 })
    for (let i = 0; i < 2000; i++) {
      open = add(open, { ...three[1]!, stub: range(i % 32) }) as Pdu.Assembly<Pdu.Request>
      assert.isAtMost(open.buffer.length, 2 * open.size)
    }
  })
})

// ----------------------------------------------------------------------------
// the writer
// ----------------------------------------------------------------------------

describe("the writer", () => {
  it("writer: never writes to bytes that were taken", () => {
    const writer = new Pdu.Writer()
    const taken: Array<readonly [Uint8Array, string]> = []
    for (let i = 0; i < 3000; i++) {
      Pdu.beginRequest(writer, { callId: i, contextId: 0, opnum: 1 })
      writeStub(writer, range(i % 97))
      Pdu.endMessage(writer, Pdu.defaultFragment)
      if (i % 3 === 0) continue
      const bytes = writer.take()
      taken.push([bytes, hex(bytes)])
    }
    for (const [bytes, text] of taken) assert.strictEqual(hex(bytes), text)
    assert.isBelow(new Set(taken.map(([bytes]) => bytes.buffer)).size, 5)
  })

  it("writer: keeps small PDUs in one buffer, and drops a buffer that grew", () => {
    const writer = new Pdu.Writer()
    Pdu.encodeCoCancel(writer, { callId: 1 })
    const first = writer.take()
    Pdu.encodeCoCancel(writer, { callId: 2 })
    const second = writer.take()
    assert.strictEqual(first.buffer, second.buffer)
    assert.strictEqual(second.byteOffset, first.byteOffset + first.length)
    Pdu.beginResponse(writer, { callId: 3, contextId: 0, cancelCount: 0 })
    writeStub(writer, range(200_000))
    Pdu.endMessage(writer, Pdu.defaultFragment)
    assert.isAbove(writer.take().buffer.byteLength, 200_000)
    assert.strictEqual(writer.bytes.length, 0)
  })

  it("writer: aligns from the start of the stub, with zeros", () => {
    const writer = new Pdu.Writer()
    Pdu.encodeCoCancel(writer, { callId: 1 })
    writer.ensure(100)
    writer.bytes.fill(0xff, writer.position)
    Pdu.beginRequest(writer, { callId: 2, contextId: 0, opnum: 0 })
    writeStub(writer, Uint8Array.of(1))
    writer.align(8)
    writer.align(8)
    writeStub(writer, Uint8Array.of(2))
    writer.align(2)
    assert.strictEqual(writer.position - writer.stub, 10)
    Pdu.endMessage(writer, Pdu.defaultFragment)
    assert.strictEqual(hex(writer.take().subarray(16 + 24)), "01000000000000000200")
  })

  it("writer moves to a larger buffer: offsets from the start of the stub stay", () => {
    const writer = new Pdu.Writer()
    Pdu.encodeCoCancel(writer, { callId: 1 })
    writer.take()
    Pdu.encodeCoCancel(writer, { callId: 2 })
    Pdu.beginResponse(writer, { callId: 3, contextId: 0, cancelCount: 0 })
    const stub = range(150_000)
    for (let i = 0; i < stub.length; i += 1000) {
      writeStub(writer, stub.subarray(i, i + 1000))
      assert.strictEqual(writer.position - writer.stub, i + 1000)
      assert.strictEqual(writer.view.buffer, writer.bytes.buffer)
    }
    writer.bytes[writer.stub] = 99
    Pdu.endMessage(writer, 0xffff)
    const pdus = parse(writer.take(), { maxFragment: 0xffff })
    assert.deepStrictEqual(pdus.map(reasonOf), ["CoCancel", "Response", "Response", "Response"])
    assert.strictEqual((pdus[1] as Pdu.Response).stub[0], 99)
  })

  it("writer, buffer ends anywhere: makes room for what comes behind the stub", () => {
    for (const limit of [Pdu.defaultFragment, 160]) {
      for (const authTrailer of [undefined, signature]) {
        for (let room = 0; room <= 400; room += 8) {
          const writer = new Pdu.Writer()
          writer.ensure(1)
          writer.position = writer.bytes.length - 24 - 300 - room
          writer.take()
          Pdu.beginRequest(writer, { callId: 5, contextId: 1, opnum: 9 })
          writeStub(writer, range(300))
          Pdu.endMessage(writer, limit, authTrailer)
          const expected = request({ stub: range(300), maxRecvFrag: limit, ...(authTrailer && { authTrailer }) })
          assert.strictEqual(hex(writer.take()), hex(expected), `${room} bytes of room`)
        }
      }
    }
  })

  it("writer discards a message: the next one stands in its place", () => {
    const writer = new Pdu.Writer()
    Pdu.encodeOrphaned(writer, { callId: 2 })
    Pdu.beginRequest(writer, { callId: 3, contextId: 0, opnum: 0 })
    writeStub(writer, range(1000))
    Pdu.discardMessage(writer)
    Pdu.discardMessage(writer)
    Pdu.encodeOrphaned(writer, { callId: 4 })
    assert.deepStrictEqual(parse(writer.take()).map((pdu) => pdu.callId), [2, 4])
  })

  it("writer, message open: hands out the finished ones", () => {
    const writer = new Pdu.Writer()
    Pdu.encodeOrphaned(writer, { callId: 2 })
    Pdu.beginRequest(writer, { callId: 3, contextId: 0, opnum: 0 })
    writeStub(writer, range(5))
    assert.deepStrictEqual(parse(writer.take()).map(reasonOf), ["Orphaned"])
    Pdu.endMessage(writer, Pdu.defaultFragment)
    assert.deepStrictEqual(parse(writer.take()).map(reasonOf), ["Request"])
  })

  it("writer, field that fits no PDU: is refused, and the writer goes on", () => {
    const writer = new Pdu.Writer()
    const bind = { callId: 1, maxXmitFrag: 1, maxRecvFrag: 1, assocGroupId: 0 }
    const element = { contextId: 0, abstractSyntax: mgmt, transferSyntaxes: [Pdu.ndr20] }
    const ack = { ...bind, secAddr: "", results: [] }
    const refusals: ReadonlyArray<() => void> = [
      () => Pdu.encodeCoCancel(writer, { callId: -1 }),
      () => Pdu.encodeCoCancel(writer, { callId: 0x100000000 }),
      () => Pdu.encodeCoCancel(writer, { callId: 1.5 }),
      () => Pdu.encodeCoCancel(writer, { callId: 1, flags: 256 }),
      () => Pdu.encodeCoCancel(writer, { callId: 1, authTrailer: { ...signature, authValue: new Uint8Array(0) } }),
      () => Pdu.encodeCoCancel(writer, { callId: 1, authTrailer: { ...signature, authValue: range(65512) } }),
      () => Pdu.encodeCoCancel(writer, { callId: 1, authTrailer: { ...signature, authLevel: 256 } }),
      () => Pdu.beginRequest(writer, { callId: 1, contextId: 65536, opnum: 0 }),
      () => Pdu.beginRequest(writer, { callId: 1, contextId: 0, opnum: 65536 }),
      () => Pdu.beginRequest(writer, { callId: 1, contextId: 0, opnum: 0, object: "" }),
      () => Pdu.beginResponse(writer, { callId: 1, contextId: 0, cancelCount: 256 }),
      () => Pdu.encodeFault(writer, { callId: 1, contextId: 0, cancelCount: 0, status: -1 }),
      () => Pdu.encodeBind(writer, { ...bind, contextElements: Array.from({ length: 256 }, () => element) }),
      () =>
        Pdu.encodeBind(writer, {
          ...bind,
          contextElements: [{ ...element, transferSyntaxes: Array.from({ length: 256 }, () => Pdu.ndr20) }]
        }),
      () =>
        Pdu.encodeBind(writer, {
          ...bind,
          contextElements: Array.from({ length: 20 }, () => ({
            ...element,
            transferSyntaxes: Array.from({ length: 255 }, () => Pdu.ndr20)
          }))
        }),
      () => Pdu.encodeBindAck(writer, { ...ack, secAddr: "x".repeat(65536) }),
      () => Pdu.encodeBindAck(writer, { ...ack, secAddr: "\u2603" }),
      () => Pdu.encodeBindNak(writer, { callId: 1, rejectReason: -1 }),
      () => Pdu.endMessage(writer, Pdu.minFragment)
    ]
    for (const [index, refusal] of refusals.entries()) assert.throws(refusal, Error, undefined, `refusal ${index}`)
    assert.strictEqual(writer.take().length, 0)
    Pdu.encodeCoCancel(writer, { callId: 1 })
    assert.strictEqual(writer.take().length, 16)
  })

  it("writer, message open: another PDU is refused; fragment size without room for a stub: is refused", () => {
    const writer = new Pdu.Writer()
    Pdu.beginRequest(writer, { callId: 3, contextId: 0, opnum: 0 })
    assert.throws(() => Pdu.encodeCoCancel(writer, { callId: 3 }), /not ended/)
    writeStub(writer, range(40))
    assert.throws(() => Pdu.endMessage(writer, 39), RangeError)
    Pdu.endMessage(writer, 40)
    assert.deepStrictEqual(parse(writer.take()).map((pdu) => (pdu as Pdu.Request).stub.length), [16, 16, 8])
  })
})

describe("the table of types", () => {
  it("table of types: has every type once, with its direction", () => {
    const numbers = Object.values(Pdu.types).map(({ ptype }) => ptype)
    assert.deepStrictEqual(numbers.toSorted((a, b) => a - b), [0, 2, 3, 11, 12, 13, 14, 15, 16, 17, 18, 19])
    const fromServer = Object.entries(Pdu.types).filter(([, { sentBy }]) => sentBy === "server").map(([tag]) => tag)
    assert.deepStrictEqual(fromServer.toSorted(), [
      "AlterContextResponse",
      "BindAck",
      "BindNak",
      "Fault",
      "Response",
      "Shutdown"
    ])
  })
})
