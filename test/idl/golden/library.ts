/**
 * library 1.10, from library.idl.
 *
 * Written by callisto import 0.1.0. Do not edit it: import again.
 */
import { ContextHandle, Interface, Pipe } from "@callisto/rpc"
import * as Ndr from "@callisto/rpc/ndr/Ndr"
import { Schema } from "effect"

// ---- constants ----

export const MAX_TITLE = 64
export const SHELF_COUNT = 12
export const MAX_LOANS = 33
export const MOTTO = "read on"

// ---- handles ----

export type DESK = ContextHandle.ContextHandle<"DESK">
export const DESK: ContextHandle.Type<"DESK"> = ContextHandle.make("DESK")

// ---- enumerations ----

/** `enum` */
export type KIND = "Book" | "Map" | "Record" | "Last" | number
export const KIND: Schema.Codec<KIND> = Ndr.enum16({ Book: 1, Map: 2, Record: 16, Last: 16 })

/** `[v1_enum] enum` */
export type STATE = "Lost" | "Present" | "Lent" | number
export const STATE: Schema.Codec<STATE> = Ndr.enum32({ Lost: -1, Present: 0, Lent: 1 })

// ---- structures and unions ----

export interface LARGE_INTEGER {
  readonly QuadPart: bigint
}
export const LARGE_INTEGER: Schema.Codec<LARGE_INTEGER> = Ndr.struct({ QuadPart: Ndr.Int64 })

/** A shelf mark. */
export interface MARK {
  readonly Room: number
  readonly Row: string
  readonly Reserved: boolean
  readonly Place: number
}
export const MARK: Schema.Codec<MARK> = Ndr.struct({
  Room: Ndr.Uint16,
  Row: Ndr.Char,
  Reserved: Ndr.Boolean,
  Place: Ndr.range(Ndr.Int32, 0, 99)
})

export interface ITEM {
  readonly Id: string
  readonly Title: string | { readonly text: string | null; readonly size: number } | null
  readonly Subtitle: string | null
  readonly Code: string
  readonly Language: string
  readonly Digest: Uint8Array
  readonly Added: LARGE_INTEGER
  readonly Kind: KIND
  readonly State: STATE
  readonly Marks: ReadonlyArray<MARK>
  readonly PageNumbers: ReadonlyArray<number> | null
  readonly Notes: { readonly size: number; readonly bytes: Uint8Array } | null
  readonly Label: string | null
  readonly Dates: ReadonlyArray<ReadonlyArray<number>>
  readonly Next: ITEM | null
}
export const ITEM: Schema.Codec<ITEM> = Ndr.struct({
  Id: Ndr.Uuid,
  Title: Ndr.UnicodeString,
  Subtitle: Ndr.unique(Ndr.WString),
  Code: Ndr.varyingString(8),
  Language: Ndr.fixedWChars(4),
  Digest: Ndr.fixedBytes(16),
  Added: LARGE_INTEGER,
  Kind: KIND,
  State: STATE,
  Marks: Ndr.fixed(MARK, 2),
  Pages: Ndr.sizeIs("PageNumbers"),
  PageNumbers: Ndr.unique(Ndr.conformant(Ndr.Uint16)),
  Used: Ndr.lengthIs("Notes"),
  Room: Ndr.sizeIs("Notes"),
  Notes: Ndr.unique(Ndr.SizedVaryingBytes),
  Bytes: Ndr.sizeIs("Label", Ndr.Uint16, { unit: 2 }),
  Label: Ndr.unique(Ndr.WChars),
  Dates: Ndr.fixed(Ndr.fixed(Ndr.Int32, 2), 3),
  Next: Ndr.unique(Schema.suspend(() => ITEM))
})

/** `[switch_type(enum KIND)] union`, with an empty default arm. */
export type DETAILS =
  | { readonly case: "Book"; readonly value: ITEM | null }
  | { readonly case: "Map"; readonly value: bigint }
  | { readonly case: "Record"; readonly value: bigint }
  | { readonly default: number | string }
export const DETAILS: Schema.Codec<DETAILS> = Ndr.union(KIND, {
  Book: Ndr.unique(ITEM),
  Map: Ndr.Int64,
  Record: Ndr.Int64
}, { default: Schema.Void, msUnion: true })

/** `[switch_type(Uint32)] union` */
export type ENTRY_u =
  | { readonly case: 1; readonly value: number }
  | { readonly case: 2; readonly value: string | null }
export const ENTRY_u: Schema.Codec<ENTRY_u> = Ndr.union(Ndr.Uint32, {
  1: Ndr.Int32,
  2: Ndr.unique(Ndr.WString)
}, { msUnion: true })

export interface ENTRY {
  readonly Details: DETAILS
  readonly u: ENTRY_u
}
export const ENTRY: Schema.Codec<ENTRY> = Ndr.struct({
  Which: Ndr.switchIs("Details"),
  Details: DETAILS,
  Level: Ndr.switchIs("u"),
  u: ENTRY_u
})

export interface NAMES {
  readonly Names: ReadonlyArray<string | null>
}
export const NAMES: Schema.Codec<NAMES> = Ndr.struct({
  Count: Ndr.sizeIs("Names", Ndr.Int32),
  Names: Ndr.conformant(Ndr.unique(Ndr.String))
})

/** `[switch_type(Int16)] union`, with an empty default arm. */
export type MEASURE =
  | { readonly case: 1; readonly value: number }
  | { readonly case: 2; readonly value: number }
  | { readonly case: 3; readonly value: number }
  | { readonly default: number | string }
export const MEASURE: Schema.Codec<MEASURE> = Ndr.union(Ndr.Int16, {
  1: Ndr.Int32,
  2: Ndr.Double,
  3: Ndr.Double
}, { default: Schema.Void })

// ---- the interface ----

/**
 * Endpoint: `ncacn_ip_tcp:[4711]`
 * Endpoint: `ncacn_np:[\pipe\library]`
 */
export const library = Interface.make("library", {
  uuid: "5d0c1a8e-7f6b-4b0e-9c3e-1d2f3a4b5c6d",
  version: [1, 10],
  methods: {
    /** Opens a desk. */
    OpenDesk: Interface.method({
      opnum: 0,
      in: { server: Ndr.unique(Ndr.WString), access: Ndr.Uint32 },
      out: { desk: ContextHandle.nullable(DESK), result: Ndr.Uint32 }
    }),
    CloseDesk: Interface.method({
      opnum: 1,
      in: { desk: DESK },
      out: { desk: ContextHandle.nullable(DESK), result: Ndr.Uint32 }
    }),
    Find: Interface.method({
      opnum: 2,
      in: { desk: DESK, pattern: Ndr.WString, count: Ndr.Uint32 },
      out: { count: Ndr.sizeIs("items"), items: Ndr.unique(Ndr.conformant(ITEM)), result: Ndr.Int32 }
    }),
    /** `[in, switch_is(0xFFFFFF & level)] details` */
    Describe: Interface.method({
      opnum: 4,
      in: { desk: DESK, level: Ndr.Uint32, details: DETAILS },
      out: { entry: ENTRY, result: Ndr.Uint32 }
    }),
    /** `[out, size_is(*size + 1)] name` */
    GetName: Interface.method({
      opnum: 5,
      in: { desk: DESK, size: Ndr.Uint32 },
      out: { size: Ndr.Uint32, name: Ndr.SizedWString, names: Ndr.unique(NAMES), result: Ndr.Uint32 }
    }),
    /** `[out, size_is(size)] buffer` */
    Fill: Interface.method({
      opnum: 6,
      in: { size: Ndr.Uint32 },
      out: { buffer: Ndr.SizedVaryingBytes, used: Ndr.lengthIs("buffer"), result: Ndr.Uint32 }
    }),
    Compare: Interface.method({
      opnum: 7,
      in: {
        n: Ndr.sizeIs(["a", "b"], Ndr.Int32),
        a: Ndr.conformant(Ndr.Int32),
        b: Ndr.conformant(Ndr.Int32)
      },
      out: { measure: MEASURE },
      idempotent: true
    }),
    Copy: Interface.method({
      opnum: 8,
      in: { options: Ndr.conformant(Ndr.unique(Ndr.String)), n: Ndr.sizeIs("options", Ndr.Int32) },
      out: { result: Ndr.Int32 },
      inPipe: { content: Pipe.bytes },
      outPipe: { numbers: Ndr.Int32 }
    }),
    Notify: Interface.method({
      opnum: 9,
      in: { desk: DESK, pointer: Ndr.unique(Ndr.Int32) },
      maybe: true
    }),
    Lend: Interface.method({
      opnum: 10,
      in: {
        desk: DESK,
        count: Ndr.sizeIs("marks", Ndr.range(Ndr.Uint32, 1, 8)),
        marks: Ndr.unique(Ndr.conformant(MARK))
      },
      out: { result: Ndr.Int32 }
    })
  }
})
