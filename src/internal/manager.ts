/**
 * Managers as a server runs them.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { serverTable } from "../CallState.ts"
import type { Incoming } from "../Channel.ts"
import type { Interface } from "../Interface.ts"
import { RpcTransportError } from "../Status.ts"
import type { Guard } from "./access.ts"
import { PipeInspectable } from "./inspectable.ts"
import type { Cancellation, ServerCallImpl } from "./serverCall.ts"

export const HandOffTypeId = "~callisto/Manager/HandOff"

type Run = (input: any, call: any) => Effect.Effect<any, any>

/** A routine, or one that hands its calls off, with what its return does to a call. */
export type Routine = Run | { readonly [HandOffTypeId]: Run; readonly returned: (call: ServerCallImpl) => void }

/** The function of a routine; `undefined` where a value is no routine. */
export const runOf = (routine: Routine | undefined): Run | undefined => {
  const run = (routine as { readonly [HandOffTypeId]?: Run } | null | undefined)?.[HandOffTypeId] ?? routine
  return typeof run === "function" ? run : undefined
}

/** Hands a call off. That counts when its announcement has succeeded. */
export const handOff = (call: ServerCallImpl): void => {
  if (serverTable[call.state].next.handOff === undefined) return
  let announcing: ReturnType<NonNullable<Incoming["handedOff"]>> | undefined
  try {
    announcing = call.incoming?.handedOff?.()
  } catch (defect) {
    announcing = Effect.die(defect)
  }
  if (announcing === undefined) return handedOff(call)
  call.send(announcing, (exit) => {
    if (exit._tag === "Success") handedOff(call)
    else if (call.isOpen) {
      call.log("The hand-off could not be announced", exit.cause)
      call.end(Exit.fail(new RpcTransportError({ status: 1726, detail: "the server could not hand the call off" })))
    }
  })
}

const handedOff = (call: ServerCallImpl): void => {
  const next = serverTable[call.state].next.handOff
  if (next === undefined) return
  call.state = next
  call.watch?.changed("HandedOff")
}

export type Middleware = (
  routine: Effect.Effect<any, any>,
  call: ServerCallImpl
) => Effect.Effect<any, any>

interface Fields {
  readonly interface: Interface.Any
  readonly routines: { readonly [name: string]: Routine }
  readonly middleware?: Middleware | undefined
  readonly object: string | undefined
  readonly callObjects: boolean
  /** The check of its callers; `undefined` where it has none. */
  readonly guard: Guard | undefined
  readonly cancellation: (method: string) => Cancellation
  /** The services of its routines, where it was made by a layer. */
  readonly services?: Context.Context<never> | undefined
}

export interface ManagerImpl extends Fields {}

export class ManagerImpl extends PipeInspectable {
  readonly "~callisto/Manager" = "~callisto/Manager"

  constructor(fields: Fields) {
    super()
    Object.assign(this, fields)
  }

  toJSON(): { readonly _id: string; readonly interface: string; readonly object?: string } {
    const { interface: { name }, object } = this
    return { _id: "callisto/Manager", interface: name, ...(object === undefined ? {} : { object }) }
  }
}

export const implOf = (manager: unknown): ManagerImpl => manager as ManagerImpl
