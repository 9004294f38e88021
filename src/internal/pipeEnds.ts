/**
 * The ends of a call's pipes: whose turn it is, what each may do, and how all of them fail with the call.
 */
import { Pipe as State, type PullRow, pullTable, type PushRow, pushTable } from "../CallState.ts"
import { PipeClosed, PipeEmpty, WrongPipeOrder } from "../Status.ts"
import type { Slot } from "./chunkBuffer.ts"
import * as Depth from "./depth.ts"
import { PipeInspectable } from "./inspectable.ts"
import { refuseArgument } from "./named.ts"

/** The pipes of a method in their order. An element is bytes or a schema. */
export type Pipes = ReadonlyArray<{ readonly name: string; readonly isIn: boolean; readonly element: object }>

/** Whether a pipe carries bytes. */
export const isBytes = <E extends object>(element: E): element is Extract<E, { readonly _tag: "Bytes" }> =>
  "_tag" in element && element._tag === "Bytes"

const makeSlots = (pipes: Pipes): ReadonlyArray<Slot> =>
  pipes.map(({ element }) => ({ isBytes: isBytes(element), buffer: undefined, isAbandoned: false }))

/** One end of a pipe, on one side of a call. */
export class End extends PipeInspectable {
  declare readonly "~callisto/Pipe/Writer": { readonly _C: (chunk: any) => void; readonly _E: () => any }
  declare readonly "~callisto/Pipe/Reader": { readonly _C: () => any; readonly _E: () => any }
  declare readonly name: string
  declare readonly ends: Ends
  declare readonly slot: Slot
  declare readonly pushes: boolean
  state: State = State.open

  constructor(name: string, ends: Ends, slot: Slot, pushes: boolean) {
    super()
    this.name = name
    this.ends = ends
    this.slot = slot
    this.pushes = pushes
  }

  get row(): PushRow | PullRow {
    return (this.pushes ? pushTable : pullTable)[this.state]
  }

  /** The one place where an end changes its state. Gives whether it changed. */
  move(event: "end" | "fail"): boolean {
    const next = this.row.next[event]
    if (next === undefined) return false
    this.state = next
    return true
  }

  toJSON(): { readonly _id: string; readonly pipe: string; readonly state: string } {
    return { _id: `callisto/Pipe/${this.pushes ? "Writer" : "Reader"}`, pipe: this.name, state: this.row.state }
  }
}

/** The ends of all pipes of a call, on one side of it. */
export class Ends {
  declare readonly list: ReadonlyArray<End>
  declare readonly slots: ReadonlyArray<Slot>
  /** The end whose turn it is; `undefined` when all are through. */
  declare current: End | undefined
  /** The failure of the call, once it has ended. */
  failure: unknown = undefined
  /** Runs when all pipes are through. */
  onThrough: (() => void) | undefined = undefined
  /** Whether the program ever asked for one of the ends. */
  asked = false
  readonly watchers: Set<() => void> = new Set()

  constructor(pipes: Pipes, client: boolean, slots: ReadonlyArray<Slot> = makeSlots(pipes)) {
    this.slots = slots
    this.list = pipes.map(({ isIn, name }, index) => new End(name, this, slots[index]!, isIn === client))
    this.current = this.list[0]
  }

  fail(failure: unknown): void {
    if (this.current === undefined) return
    this.failure = failure
    const failed = this.list.filter((end) => end.move("fail"))
    this.moved()
    // The buffers wake fibers only now, so that each of these finds all ends failed.
    for (const { pushes, slot } of failed) {
      if (!pushes) slot.isAbandoned = true
      slot.buffer?.[pushes ? "clear" : "abandon"]()
    }
    for (const watcher of [...this.watchers]) Depth.run(() => void (this.watchers.delete(watcher) && watcher()))
  }

  moved(): void {
    const before = this.current
    this.current = this.list.find(({ state }) => state === State.open)
    if (before !== undefined && this.current === undefined) this.onThrough?.()
  }
}

// ----------------------------------------------------------------------------
// what only programs with pipes do
// ----------------------------------------------------------------------------

/** The end of a pipe of a method. */
export const endOf = (
  { interface: { name: service }, name: method, pipes = [] }: Method,
  ends: Ends | undefined,
  name: string,
  isIn: boolean
): End => {
  const end = ends?.list[pipes.findIndex((pipe) => pipe.name === name && pipe.isIn === isIn)]
  if (end !== undefined) return end
  return refuseArgument(`${service}.${method}`, `no ${isIn ? "in" : "out"} pipe ${JSON.stringify(name)}`)
}

interface Method {
  readonly interface: { readonly name: string }
  readonly name: string
  readonly pipes: Pipes | undefined
}

/** The error with which a push or pull fails now. `undefined`: the push or pull may go on. */
export const refusalOf = (end: End): unknown => {
  const { ends, name, pushes, state } = end
  if (state === State.ended) return pushes ? new PipeClosed({ pipe: name }) : new PipeEmpty({ pipe: name })
  if (state === State.failed) return ends.failure
  return ends.current === end ? undefined : new WrongPipeOrder({ pipe: name })
}

/** Runs a watcher when the ends fail, until it is forgotten. */
export const onFailure = ({ watchers }: Ends, watcher: () => void): () => void => {
  watchers.add(watcher)
  return () => watchers.delete(watcher)
}
