/**
 * Streams of PDUs, damaged in every way that a peer could think of, against the parser.
 *
 * Each stream is parsed twice, whole and in random chunks. Both must give the same, nothing may throw, and nothing may grow
 * beyond its limit.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import { budgetOf, report, seed } from "../budget.ts"

type Output = Pdu.Pdu | Pdu.PduError

/** Random 32-bit numbers from a seed (mulberry32). */
const randomFrom = (seed: number) => {
  let state = seed
  const next = (): number => {
    state = state + 0x6d2b79f5 | 0
    let mixed = Math.imul(state ^ state >>> 15, 1 | state)
    mixed = mixed + Math.imul(mixed ^ mixed >>> 7, 61 | mixed) ^ mixed
    return (mixed ^ mixed >>> 14) >>> 0
  }
  /** From 0 to below `bound`. */
  const below = (bound: number): number => next() % bound
  const pick = <A>(values: ReadonlyArray<A>): A => values[below(values.length)]!
  return { below, pick }
}

type Random = ReturnType<typeof randomFrom>

// ----------------------------------------------------------------------------
// well-formed PDUs
// ----------------------------------------------------------------------------

const syntax: Pdu.SyntaxId = { uuid: "afa8bd80-7d8a-11c9-bef4-08002b102989", major: 1, minor: 0 }
const frags = { maxXmitFrag: 5840, maxRecvFrag: 5840, assocGroupId: 0x1063 }
const element = { contextId: 1, abstractSyntax: syntax, transferSyntaxes: [Pdu.ndr20, syntax] }
const result = { result: 0, reason: 0, transferSyntax: Pdu.ndr20 }
const signed: Pdu.AuthTrailer = {
  authType: 10,
  authLevel: 5,
  authContextId: 7,
  authValue: new Uint8Array(16).fill(0x55)
}

const stub = (writer: Pdu.Writer, size: number): void => {
  writer.ensure(size)
  writer.bytes.fill(size, writer.position, writer.position + size)
  writer.position += size
}

/** One of each kind, with and without signature, in one byte order. A message in fragments is several. */
const corpusOf = (littleEndian: boolean): ReadonlyArray<Uint8Array> => {
  const writer = new Pdu.Writer({ littleEndian })
  const all: Array<Uint8Array> = []
  const add = (write: () => void) => {
    write()
    const bytes = writer.take()
    for (let at = 0; at < bytes.length;) {
      const size = littleEndian ? bytes[at + 8]! | bytes[at + 9]! << 8 : bytes[at + 8]! << 8 | bytes[at + 9]!
      all.push(bytes.subarray(at, at + size))
      at += size
    }
  }
  for (const authTrailer of [undefined, signed]) {
    for (const object of [undefined, syntax.uuid]) {
      for (const [size, limit] of [[0, 5840], [32, 5840], [300, 160]] as const) {
        add(() => {
          Pdu.beginRequest(writer, { callId: 2, contextId: 1, opnum: 3, object })
          stub(writer, size)
          Pdu.endMessage(writer, limit, authTrailer)
        })
      }
    }
    for (const [size, limit] of [[8, 5840], [250, 160], [3000, 5840]] as const) {
      add(() => {
        Pdu.beginResponse(writer, { callId: 2, contextId: 1, cancelCount: 0 })
        stub(writer, size)
        Pdu.endMessage(writer, limit, authTrailer)
      })
    }
    const common = { callId: 3, authTrailer }
    add(() => Pdu.encodeFault(writer, { ...common, contextId: 1, cancelCount: 0, status: 0x1c010002 }))
    add(() => Pdu.encodeBind(writer, { ...common, ...frags, contextElements: [element, element] }))
    add(() => Pdu.encodeAlterContext(writer, { ...common, ...frags, contextElements: [element] }))
    add(() => Pdu.encodeBindAck(writer, { ...common, ...frags, secAddr: "135", results: [result, result] }))
    add(() => Pdu.encodeAlterContextResponse(writer, { ...common, ...frags, results: [result] }))
    add(() => Pdu.encodeCoCancel(writer, common))
    add(() => Pdu.encodeOrphaned(writer, common))
  }
  add(() => Pdu.encodeAuth3(writer, { callId: 3, authTrailer: signed }))
  add(() => Pdu.encodeBindNak(writer, { callId: 3, rejectReason: 4 }))
  add(() => Pdu.encodeShutdown(writer, { callId: 3 }))
  return all
}

const corpus = [...corpusOf(true), ...corpusOf(false)]

// ----------------------------------------------------------------------------
// damage
// ----------------------------------------------------------------------------

const sizes = [0, 1, 7, 8, 15, 16, 17, 23, 24, 32, 40, 72, 160, 1432, 4280, 5840, 5841, 0x7fff, 0x8000, 0xfff8, 0xffff]
const bytesOfInterest = [0, 1, 2, 3, 4, 5, 7, 8, 0x0f, 0x10, 0x11, 0x7f, 0x80, 0x83, 0xfe, 0xff]

const setU16 = (pdu: Uint8Array, at: number, value: number): void => {
  if (at + 1 >= pdu.length) return
  const littleEndian = pdu[4] !== 0
  pdu[at] = littleEndian ? value & 0xff : value >> 8
  pdu[at + 1] = littleEndian ? value >> 8 : value & 0xff
}

const damages: ReadonlyArray<(pdu: Uint8Array, random: Random) => Uint8Array> = [
  /** One bit. */
  (pdu, { below }) => {
    pdu[below(pdu.length)]! ^= 1 << below(8)
    return pdu
  },
  /** One byte of the header or of the counts behind it. */
  (pdu, { below, pick }) => {
    pdu[below(Math.min(pdu.length, 36))] = pick(bytesOfInterest)
    return pdu
  },
  /** One byte anywhere. */
  (pdu, { below, pick }) => {
    pdu[below(pdu.length)] = pick(bytesOfInterest)
    return pdu
  },
  /** Another type. */
  (pdu, { below }) => {
    pdu[2] = below(24)
    return pdu
  },
  /** A wrong size. */
  (pdu, { pick }) => {
    setU16(pdu, 8, pick(sizes))
    return pdu
  },
  /** A size that is wrong by little. */
  (pdu, { below }) => {
    setU16(pdu, 8, pdu.length + below(9) - 4)
    return pdu
  },
  /** A wrong size of the authentication. */
  (pdu, { below, pick }) => {
    setU16(pdu, 10, below(2) === 0 ? pick(sizes) : below(64))
    return pdu
  },
  /** A wrong length of the secondary address. */
  (pdu, { below, pick }) => {
    setU16(pdu, 24, below(2) === 0 ? pick(sizes) : below(64))
    return pdu
  },
  /** A wrong padding before the trailer. */
  (pdu, { pick }) => {
    pdu[Math.max(0, pdu.length - signed.authValue.length - 6)] = pick(bytesOfInterest)
    return pdu
  },
  /** The other byte order. */
  (pdu) => {
    pdu[4]! ^= 0x10
    return pdu
  },
  /** Cut, with the old size. */
  (pdu, { below }) => pdu.subarray(0, below(pdu.length + 1)),
  /** Cut, with the size that it has now. */
  (pdu, { below }) => {
    const cut = pdu.subarray(0, Math.min(pdu.length, 16 + below(pdu.length)))
    setU16(cut, 8, cut.length)
    return cut
  },
  /** The beginning of one and the end of another, with the size that they have now. */
  (pdu, { below, pick }) => {
    const other = pick(corpus)
    const tail = other.subarray(below(other.length))
    const head = pdu.subarray(0, Math.min(pdu.length, 16 + below(pdu.length)))
    const spliced = new Uint8Array(head.length + tail.length)
    spliced.set(head)
    spliced.set(tail, head.length)
    setU16(spliced, 8, spliced.length)
    return spliced
  },
  /** Bytes behind the body, with the size that it has now. */
  (pdu, { below }) => {
    const longer = new Uint8Array(pdu.length + 1 + below(40))
    longer.set(pdu)
    setU16(longer, 8, longer.length)
    return longer
  }
]

// ----------------------------------------------------------------------------
// checks
// ----------------------------------------------------------------------------

const reasons: ReadonlySet<string> = new Set<Pdu.Reason>([
  "Version",
  "DataRepresentation",
  "ConnectionlessType",
  "UnknownType",
  "FragmentLength",
  "TooLarge",
  "AuthTrailer",
  "Alignment",
  "Flags",
  "Truncated",
  "Trailing",
  "FragmentOrder",
  "FragmentMismatch",
  "MessageTooLarge",
  "Dead"
])

const equalBytes = (a: Uint8Array, b: Uint8Array): boolean => {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

const isSame = (a: Output, b: Output | undefined): boolean => {
  if (a._tag !== b?._tag || a.callId !== b.callId) return false
  if (a._tag === "PduError" || b._tag === "PduError") {
    return a._tag === "PduError" && b._tag === "PduError" && a.reason === b.reason && a.message === b.message
  }
  if (!equalBytes(a.authTrailer?.fragment ?? new Uint8Array(0), b.authTrailer?.fragment ?? new Uint8Array(0))) {
    return false
  }
  return !("stub" in a) || "stub" in b && equalBytes(a.stub, b.stub)
}

/** The views of a PDU, none of which may reach beyond what the PDU's own size allows. */
const checkSizes = (pdu: Pdu.Pdu, limit: number, owned: boolean): void => {
  const bound = Pdu.types[pdu._tag].bindTime ? Pdu.maxFragment : limit
  const views = [
    ..."stub" in pdu ? [pdu.stub] : [],
    ...pdu.authTrailer === undefined ? [] : [pdu.authTrailer.authValue, pdu.authTrailer.fragment]
  ]
  for (const view of views) {
    if (view.length > bound) assert.fail(`a view of ${view.length} bytes`)
    if (!owned && view.buffer.byteLength > bound) assert.fail(`a buffer of ${view.buffer.byteLength} bytes`)
  }
  if ("contextElements" in pdu && pdu.contextElements.length > 255) assert.fail("too many contexts")
  if ("results" in pdu && pdu.results.length > 255) assert.fail("too many results")
}

const messageLimit = 4096

const assembleAll = (outputs: ReadonlyArray<Output>, seen: (what: string) => void): void => {
  let open: Pdu.Assembly<Pdu.Request | Pdu.Response> | undefined = undefined
  for (const output of outputs) {
    if (output._tag !== "Request" && output._tag !== "Response") continue
    const added: Pdu.Request | Pdu.Response | Pdu.Assembly<Pdu.Request | Pdu.Response> | Pdu.PduError = Pdu.assemble(
      open,
      output,
      messageLimit
    )
    open = added._tag === "Assembly" ? added : undefined
    if (added._tag === "PduError") seen(added.reason)
    else if (added._tag !== "Assembly") assert.isAtMost(added.stub.length, messageLimit)
    else assert.isAtMost(added.buffer.length, messageLimit)
  }
}

describe("damaged streams of PDUs", () => {
  const budget = budgetOf(1_000_000, 50_000)

  it(`${budget} damaged PDUs, seed ${seed}: are refused with a reason, or understood`, () => {
    const random = randomFrom(seed)
    const { below, pick } = random
    const counts = new Map<string, number>()
    const seen = (what: string) => counts.set(what, (counts.get(what) ?? 0) + 1)

    for (let pdus = 0; pdus < budget;) {
      const parts: Array<Uint8Array> = []
      for (let count = 1 + below(6); count > 0; count--) {
        let pdu: Uint8Array = pick(corpus).slice()
        for (let times = Math.max(0, below(5) - 2); times > 0 && pdu.length > 0; times--) {
          pdu = pick(damages)(pdu, random)
        }
        parts.push(pdu)
        pdus++
      }
      const stream = new Uint8Array(parts.reduce((size, part) => size + part.length, 0))
      let end = 0
      for (const part of parts) {
        stream.set(part, end)
        end += part.length
      }
      const limit = pick([160, 1432, 5840])

      const expected = Pdu.makeParser({ maxFragment: limit, owned: true }).push(stream)
      const failure = expected.findIndex((output) => output._tag === "PduError")
      if (failure >= 0 && failure !== expected.length - 1) assert.fail("something behind a failure")
      for (const output of expected) {
        seen(output._tag === "PduError" ? output.reason : output._tag)
        if (output._tag !== "PduError") checkSizes(output, limit, true)
        else if (!reasons.has(output.reason)) assert.fail(`reason ${output.reason}`)
      }
      assembleAll(expected, seen)

      const owned = below(2) === 0
      const parser = Pdu.makeParser({ maxFragment: limit, owned })
      let found = 0
      let dead = false
      const held: Array<Output> = []
      for (let at = 0; at < stream.length;) {
        const size = Math.min(stream.length - at, 1 + below(pick([4, 40, 400, 4000])))
        const chunk = stream.slice(at, at + size)
        at += size
        for (const output of parser.push(chunk)) {
          if (dead && (output._tag !== "PduError" || output.reason !== "Dead")) assert.fail("a dead parser goes on")
          if (output._tag !== "PduError") checkSizes(output, limit, owned)
          if (!dead) held.push(output)
          dead ||= output._tag === "PduError"
        }
        if (!owned) chunk.fill(0xee)
        if (parser.buffered > Pdu.maxFragment) assert.fail(`${parser.buffered} bytes held`)
      }
      for (const output of held) if (!isSame(output, expected[found++])) assert.fail("another result in chunks")
      assert.strictEqual(found, expected.length)
    }

    for (const tag of Object.keys(Pdu.types)) assert.isAbove(counts.get(tag) ?? 0, 0, tag)
    for (const reason of reasons) if (reason !== "Dead") assert.isAbove(counts.get(reason) ?? 0, 0, reason)
    report("PDU fuzz", `${budget} PDUs`)
  }, 120_000)
})
