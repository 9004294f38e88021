/**
 * The table of the context handles that one association has open, and the calls that carry them.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Depth from "./depth.ts"
import { Handle, type Parameter, valueOf } from "./handleSchema.ts"
import * as Uuid from "./uuid.ts"

// ----------------------------------------------------------------------------
// states
// ----------------------------------------------------------------------------

/** The states of an open handle on its server, each the index of its row. */
export const State = { open: 0, closing: 1, runningDown: 2, gone: 3 } as const

export type State = (typeof State)[keyof typeof State]

interface Row {
  readonly state: keyof typeof State
  /** The effect on a call that carries the handle. */
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

/** The events of a handle in each state. A missing event changes nothing. */
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
interface Claim {
  readonly entry: Entry
  readonly holding: Holding
  readonly shared: boolean
  granted: boolean
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
      const claim: Claim = { entry, holding: this, shared, granted: false }
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

  /** The call has ended. The server runs down the handles that the call has made and that its out parameters do not carry. */
  answered(out?: unknown, parameters: ReadonlyArray<Parameter> = []): void {
    const { made } = this
    const received = new Set(parameters.map(({ name }) => (valueOf(out, name) as Handle | null | undefined)?.uuid))
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

/** The identity of an interface. */
export interface Identity {
  readonly uuid: string
  readonly version: readonly [major: number, minor: number]
}

/** What runs the finalizers of a handle, and knows those that have not run yet. */
export interface Host {
  readonly handles: Set<Entry>
  readonly look: () => void
  readonly fork: (effect: Effect.Effect<void>) => unknown
}

/** A handle on its server, from when it is made until its finalizers have run. */
export class Entry {
  readonly handle: Handle
  readonly interface: Identity
  /** The `States` that made the state, and that alone know its type. */
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
    this.handle = new Handle(fields.type, Uuid.v4())
    this.interface = fields.interface
    this.owner = fields.owner
    this.value = fields.value
    this.association = fields.association
    this.scope = fields.scope
    this.host = fields.host
    this.association.open.set(this.handle.uuid, this)
    this.association.count++
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
      Depth.run(() => {
        Deferred.doneUnsafe(this.gone, Exit.void)
        this.host.look()
      })
    }
    return true
  }

  /** Closes the handle for a call. Gives `false` where it was closed already. */
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
    this.association.count--
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

  /** Gives the handle to the first call in line; where that shares it, also to those behind it that share it. */
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

/** A client of a server, as far as it has context handles. */
export interface Owner {
  handles: Handles | undefined
}

/** The open handles of a client. A client that shares them with no other may have any number. */
export const handlesOf = (owner: Owner): Handles => owner.handles ??= new Handles(Infinity)

/** The open handles of one association, and how many of them one of its connections has made. */
export class Handles {
  readonly open: Map<string, Entry>
  /** The open handles that were made here, those that are being made among them. */
  count = 0
  private readonly limit: number

  constructor(limit: number, open: Map<string, Entry> = new Map()) {
    this.limit = limit
    this.open = open
  }

  get isFull(): boolean {
    return this.count >= this.limit
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

  /** Keeps so many of the handles to the states of one owner, the latest ones, and runs the older ones down. */
  keepLatest(owner: unknown, count: number): void {
    const owned = [...this.open.values()].filter((entry) => entry.owner === owner)
    for (const entry of owned.slice(0, Math.max(0, owned.length - count))) entry.lose()
  }

  /** The association is gone. */
  end(): void {
    for (const entry of [...this.open.values()]) entry.lose()
  }
}
