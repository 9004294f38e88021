/**
 * Context handles: the values that travel, the schemas that say where they may stand, and the table of those that one
 * association has open, with the calls that carry them.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as SchemaAST from "effect/SchemaAST"
import * as Scope from "effect/Scope"
import type * as Types from "effect/Types"
import * as Depth from "./depth.ts"
import { PipeInspectable } from "./inspectable.ts"

// ----------------------------------------------------------------------------
// values
// ----------------------------------------------------------------------------

export const TypeId = "~callisto/ContextHandle"

/** What a client has of a context handle: 20 opaque bytes that mean something to the server that made them. */
export class Handle extends PipeInspectable {
  declare readonly "~callisto/ContextHandle": Types.Invariant<string>
  readonly type: string
  readonly attributes: number
  readonly uuid: string
  #forget: (() => void) | undefined = undefined
  #destroyed = false

  constructor(type: string, uuid: string, attributes = 0) {
    super()
    this.type = type
    this.uuid = uuid
    this.attributes = attributes
  }

  get destroyed(): boolean {
    return this.#destroyed
  }

  /** Without its UUID, which would let a reader of the log use it. */
  toJSON(): { readonly _id: string; readonly type: string; readonly state: string } {
    return { _id: "callisto/ContextHandle", type: this.type, state: this.#destroyed ? "destroyed" : "open" }
  }

  /** Something has to be done when the client forgets it. */
  keptBy(forget: () => void): void {
    this.#forget = forget
  }

  destroy(): void {
    this.#destroyed = true
    this.#forget?.()
  }
}

const nilUuid = "00000000-0000-0000-0000-000000000000"

/** What 20 bytes mean: all zero is the null handle. */
export const fromParts = (type: string, attributes: number, uuid: string): Handle | null =>
  attributes === 0 && uuid === nilUuid ? null : new Handle(type, uuid, attributes)

/** The 20 bytes of a handle; those of null are zero. */
export const partsOf = (handle: Handle | null): { readonly attributes: number; readonly uuid: string } =>
  handle ?? { attributes: 0, uuid: nilUuid }

const hexOf = (byte: number): string => byte.toString(16).padStart(2, "0")

// The first three fields of a UUID are little-endian numbers, the rest are bytes.
const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15]

export const toBytes = (handle: Handle | null): Uint8Array => {
  const { attributes, uuid } = partsOf(handle)
  const bytes = new Uint8Array(20)
  new DataView(bytes.buffer).setUint32(0, attributes, true)
  const digits = uuid.replaceAll("-", "")
  for (const [i, at] of order.entries()) bytes[4 + at] = parseInt(digits.slice(2 * i, 2 * i + 2), 16)
  return bytes
}

export const fromBytes = (type: string, bytes: Uint8Array): Handle | null => {
  const attributes = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)
  return fromParts(type, attributes, format(order.map((at) => bytes[4 + at]!)))
}

const format = (bytes: ArrayLike<number>): string => {
  const digits = Array.from(bytes, hexOf).join("")
  return [[0, 8], [8, 12], [12, 16], [16, 20], [20, 32]].map(([from, to]) => digits.slice(from, to)).join("-")
}

declare const crypto: { getRandomValues(bytes: Uint8Array): void }

/** A random UUID, which nobody can guess. */
const makeUuid = (): string => {
  const bytes = new Uint8Array(16)
  crypto.getRandomValues(bytes)
  bytes[6] = bytes[6]! & 0x0f | 0x40
  bytes[8] = bytes[8]! & 0x3f | 0x80
  return format(bytes)
}

// ----------------------------------------------------------------------------
// parameters
// ----------------------------------------------------------------------------

/** What the schema of a context handle says. */
export interface Declared {
  readonly type: string
  readonly nullable: boolean
  readonly shared: boolean
}

/** A context handle among the parameters of a method. */
export interface Parameter extends Declared {
  readonly name: string
}

/** What a schema says, if it is the schema of a context handle. */
export const declaredIn = (ast: SchemaAST.AST): Declared | undefined =>
  ast.annotations?.[TypeId] as Declared | undefined

/** Whether there is a context handle anywhere in a schema. */
export const contains = (ast: SchemaAST.AST, seen: Set<SchemaAST.AST> = new Set()): boolean => {
  if (seen.has(ast)) return false
  seen.add(ast)
  return declaredIn(ast) !== undefined || partsOfSchema(ast).some((part) => contains(part, seen))
}

const partsOfSchema = (ast: SchemaAST.AST): ReadonlyArray<SchemaAST.AST> => {
  const encoded = ast.encoding?.map(({ to }) => to) ?? []
  switch (ast._tag) {
    case "Objects":
      return [
        ...encoded,
        ...ast.propertySignatures.map(({ type }) => type),
        ...ast.indexSignatures.flatMap(({ parameter, type }) => [parameter, type])
      ]
    case "Arrays":
      return [...encoded, ...ast.elements, ...ast.rest]
    case "Union":
      return [...encoded, ...ast.types]
    case "Suspend":
      return [...encoded, ast.thunk()]
    case "Declaration":
      return [...encoded, ...ast.typeParameters]
    default:
      return encoded
  }
}

/** The context handles among parameters, or what is wrong where one stands elsewhere; `undefined` for none. */
export const parametersOf = (ast: SchemaAST.AST): ReadonlyArray<Parameter> | string | undefined => {
  if (ast._tag !== "Objects" || ast.encoding !== undefined) return contains(ast) ? misplaced : undefined
  const found: Array<Parameter> = []
  for (const { name, type } of ast.propertySignatures) {
    const declared = declaredIn(type)
    if (declared === undefined) {
      if (contains(type)) return misplaced
    } else if (typeof name !== "string" || type.context?.isOptional === true) {
      return "a context handle is a parameter that is always there; one that may be null is ContextHandle.nullable"
    } else {
      found.push({ name, ...declared })
    }
  }
  if (ast.indexSignatures.some(({ type }) => contains(type))) return misplaced
  return found.length === 0 ? undefined : found
}

const misplaced = "a context handle stands among the parameters themselves, in nothing else"

/** The value of a parameter. Without a check nobody knows whether the parameters are an object. */
export const valueOf = (parameters: unknown, name: string): unknown =>
  typeof parameters === "object" && parameters !== null ? (parameters as Record<string, unknown>)[name] : undefined

// ----------------------------------------------------------------------------
// states
// ----------------------------------------------------------------------------

/** The states of an open handle on its server, each the index of its row. */
export const State: { readonly open: 0; readonly closing: 1; readonly runningDown: 2; readonly gone: 3 } = {
  open: 0,
  closing: 1,
  runningDown: 2,
  gone: 3
}

export type State = 0 | 1 | 2 | 3

interface Row {
  readonly state: keyof typeof State
  /** What becomes of a call that carries the handle. */
  readonly call: "admitted" | "ContextMismatch"
  readonly next: {
    /** A method closes it. */
    readonly close?: State
    /** Its association is gone or has too many, the server stops, or nobody has received it. */
    readonly lose?: State
    /** Its outstanding calls have ended. */
    readonly idle?: State
    /** Its finalizers have run. */
    readonly done?: State
  }
}

/** What can happen to a handle in each state. An event that is missing changes nothing. */
export const table: readonly [Row, Row, Row, Row] = [
  { state: "open", call: "admitted", next: { close: State.closing, lose: State.closing } },
  { state: "closing", call: "ContextMismatch", next: { idle: State.runningDown } },
  { state: "runningDown", call: "ContextMismatch", next: { done: State.gone } },
  { state: "gone", call: "ContextMismatch", next: {} }
]

// ----------------------------------------------------------------------------
// the calls on a handle
// ----------------------------------------------------------------------------

/** The turn of one call at one handle. */
class Claim {
  readonly entry: Entry
  readonly holding: Holding
  readonly shared: boolean
  granted = false

  constructor(entry: Entry, holding: Holding, shared: boolean) {
    this.entry = entry
    this.holding = holding
    this.shared = shared
  }
}

/** The handles of one call: those that it carries, and those that it has made. */
export class Holding {
  private claims: Array<Claim> = []
  private made: Array<Entry> = []
  private readonly start: () => void
  private readonly refuse: () => void

  /** `start` runs when the call has its turn at all its handles; `refuse` when one of them is gone before. */
  constructor(start: () => void, refuse: () => void) {
    this.start = start
    this.refuse = refuse
  }

  /** Whether the call waits for its turn. */
  get isWaiting(): boolean {
    return this.claims.some(({ granted }) => !granted)
  }

  /** Stands in line for a handle. The calls of all lines stand in the order of their arrival, so none waits for itself. */
  claim(entries: ReadonlyMap<Entry, boolean>): void {
    for (const [entry, shared] of entries) {
      const claim = new Claim(entry, this, shared)
      this.claims.push(claim)
      entry.join(claim)
    }
  }

  /** Holds a handle that the call has made. */
  hold(entry: Entry): void {
    this.made.push(entry)
    this.claim(new Map([[entry, false]]))
  }

  /** Whether the call has made a handle that its reply may carry. */
  get hasMade(): boolean {
    return this.made.length > 0
  }

  /** A handle that the call carries or has made. */
  find(handle: Handle): Entry | undefined {
    return this.claims.find(({ entry, granted }) => granted && entry.handle.uuid === handle.uuid)?.entry
  }

  granted(): void {
    if (!this.isWaiting) Depth.run(this.start)
  }

  refused(): void {
    Depth.run(this.refuse)
  }

  /** The call has ended: what it has made and nobody receives is run down. */
  answered(received: ReadonlySet<string>): void {
    const { made } = this
    this.made = made.filter(({ handle }) => received.has(handle.uuid))
    for (const entry of made) if (!received.has(entry.handle.uuid)) entry.lose()
  }

  /** All work of the call is over: the next may have the handles. */
  release(): void {
    const { claims } = this
    this.claims = []
    for (const claim of claims) claim.entry.leave(claim)
  }
}

// ----------------------------------------------------------------------------
// open handles
// ----------------------------------------------------------------------------

/** What identifies an interface. */
interface Identity {
  readonly uuid: string
  readonly version: readonly [major: number, minor: number]
}

/** What runs the finalizers of a handle, and knows those that have not run yet. */
export interface Host {
  readonly handles: Set<Entry>
  readonly fork: (effect: Effect.Effect<void>) => unknown
}

/** A handle on its server, from when it is made until its finalizers have run. */
export class Entry {
  readonly handle: Handle
  readonly interface: Identity
  /** By whom the state was made, who alone knows its type. */
  readonly owner: unknown
  readonly value: unknown
  readonly gone: Deferred.Deferred<void> = Deferred.makeUnsafe()
  private readonly association: Handles
  private readonly scope: Scope.Closeable
  private readonly host: Host
  private state: State = State.open
  /** The call that has closed it, which need not end before its finalizers run. */
  private closer: Holding | undefined = undefined
  /** The calls on it in the order of their arrival, and how many of them wait. */
  private readonly line = new Set<Claim>()
  private waiting = 0

  constructor(
    fields: Pick<Entry, "interface" | "owner" | "value"> & {
      readonly type: string
      readonly association: Handles
      readonly scope: Scope.Closeable
      readonly host: Host
    }
  ) {
    this.handle = new Handle(fields.type, makeUuid())
    this.interface = fields.interface
    this.owner = fields.owner
    this.value = fields.value
    this.association = fields.association
    this.scope = fields.scope
    this.host = fields.host
    this.association.open.set(this.handle.uuid, this)
    this.host.handles.add(this)
  }

  get admits(): boolean {
    return table[this.state].call === "admitted"
  }

  // --- its end

  /** The one place where a handle changes its state. Gives `false` when the event can't happen in its state. */
  private move(event: keyof Row["next"]): boolean {
    const next = table[this.state].next[event]
    if (next === undefined) return false
    this.state = next
    if (next === State.closing) this.closing()
    else if (next === State.runningDown) Depth.run(() => void this.host.fork(this.runDown))
    else {
      this.host.handles.delete(this)
      Depth.run(() => void Deferred.doneUnsafe(this.gone, Exit.void))
    }
    return true
  }

  /** Closes it for a call. Gives `false` where somebody did already. */
  close(holding: Holding): boolean {
    if (!this.admits) return false
    this.closer = holding
    return this.move("close")
  }

  isClosedBy(holding: Holding | undefined): boolean {
    return holding !== undefined && this.closer === holding
  }

  lose(): void {
    this.move("lose")
  }

  private closing(): void {
    this.association.open.delete(this.handle.uuid)
    for (const claim of [...this.line]) if (!claim.granted) claim.holding.refused()
    this.runDownWhenIdle()
  }

  private runDownWhenIdle(): void {
    for (const { holding } of this.line) if (holding !== this.closer) return
    this.move("idle")
  }

  private readonly runDown: Effect.Effect<void> = Effect.suspend(() =>
    Scope.close(this.scope, this.closer === undefined ? Exit.interrupt() : Exit.void)
  ).pipe(
    Effect.catchCause((cause) => Effect.logError(`The run-down of a ${this.handle.type} died`, cause)),
    Effect.ensuring(Effect.sync(() => this.move("done")))
  )

  // --- its calls

  join(claim: Claim): void {
    claim.granted = this.line.size === 0 || (claim.shared && this.waiting === 0 && this.isShared)
    if (!claim.granted) this.waiting++
    this.line.add(claim)
  }

  private get isShared(): boolean {
    for (const { shared } of this.line) return shared
    return false
  }

  leave(claim: Claim): void {
    if (!this.line.delete(claim)) return
    if (!claim.granted) this.waiting--
    if (this.waiting > 0 && this.admits) this.grant()
    if (!this.admits) this.runDownWhenIdle()
  }

  /** Who stands in front has the handle; if that call shares it, those behind that share it too. */
  private grant(): void {
    const granted: Array<Claim> = []
    for (const claim of this.line) {
      if (granted.length === 0 && claim.granted) {
        if (!claim.shared) return
        continue
      }
      if (!claim.shared && !this.isFirst(claim)) break
      claim.granted = true
      this.waiting--
      granted.push(claim)
      if (!claim.shared) break
    }
    for (const { holding } of granted) holding.granted()
  }

  private isFirst(claim: Claim): boolean {
    for (const first of this.line) return first === claim
    return false
  }
}

/** The open handles of one association. */
export class Handles {
  readonly open: Map<string, Entry> = new Map()
  /** How many are being made. */
  making = 0
  private readonly limit: number

  constructor(limit: number) {
    this.limit = limit
  }

  get isFull(): boolean {
    return this.open.size + this.making >= this.limit
  }

  /** The handle of a type that a call to an interface may carry. */
  find(value: unknown, { uuid, version }: Identity, type: string): Entry | undefined {
    if (!(value instanceof Handle) || value.attributes !== 0) return undefined
    const entry = this.open.get(value.uuid)
    if (entry === undefined || entry.handle.type !== type) return undefined
    const bound = entry.interface
    return bound.uuid === uuid && bound.version[0] === version[0] ? entry : undefined
  }

  /** The handles that a call carries, with whether it shares each; `undefined` where one is none of them. */
  findAll(
    values: unknown,
    iface: Identity,
    parameters: ReadonlyArray<Parameter>
  ): Map<Entry, boolean> | undefined {
    const found = new Map<Entry, boolean>()
    for (const { name, nullable, shared, type } of parameters) {
      const value = valueOf(values, name)
      if (value === null && nullable) continue
      const entry = this.find(value, iface, type)
      if (entry === undefined) return undefined
      found.set(entry, shared && found.get(entry) !== false)
    }
    return found
  }

  /** Of the handles to the states of one owner so many stay, the latest: older ones are run down. */
  keepLatest(owner: unknown, count: number): void {
    const owned = [...this.open.values()].filter((entry) => entry.owner === owner)
    for (const entry of owned.slice(0, Math.max(0, owned.length - count))) entry.lose()
  }

  /** The association is gone. */
  end(): void {
    for (const entry of [...this.open.values()]) entry.lose()
  }
}
