/**
 * Managers as a server runs them.
 */
import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { Interface } from "../Interface.ts"
import { PipeInspectable } from "./inspectable.ts"
import type { Cancellation, ServerCallImpl } from "./serverCall.ts"

export const HandOffTypeId = "~callisto/Manager/HandOff"

type Run = (input: any, call: any) => Effect.Effect<any, any>

export type Routine = Run | { readonly [HandOffTypeId]: Run }

export const isHandOff = (routine: Routine): routine is { readonly [HandOffTypeId]: Run } => typeof routine === "object"

export const runnable = (routine: Routine): Run => isHandOff(routine) ? routine[HandOffTypeId] : routine

export type Middleware = (
  routine: Effect.Effect<any, any>,
  call: ServerCallImpl
) => Effect.Effect<any, any>

export class ManagerImpl extends PipeInspectable {
  readonly "~callisto/Manager" = "~callisto/Manager"
  readonly interface: Interface.Any
  readonly routines: { readonly [name: string]: Routine }
  readonly middleware: Middleware | undefined
  readonly object: string | undefined
  readonly callObjects: boolean
  readonly cancellation: (method: string) => Cancellation
  /** The services of its routines, where it was made by a layer. */
  readonly services: Context.Context<never> | undefined

  constructor(
    fields:
      & Pick<ManagerImpl, "interface" | "routines" | "middleware" | "object" | "callObjects" | "cancellation">
      & { readonly services?: Context.Context<never> | undefined }
  ) {
    super()
    this.interface = fields.interface
    this.routines = fields.routines
    this.middleware = fields.middleware
    this.object = fields.object
    this.callObjects = fields.callObjects
    this.cancellation = fields.cancellation
    this.services = fields.services
  }

  toJSON(): { readonly _id: string; readonly interface: string; readonly object?: string } {
    const { interface: { name }, object } = this
    return { _id: "callisto/Manager", interface: name, ...(object === undefined ? {} : { object }) }
  }
}

export const implOf = (manager: unknown): ManagerImpl => manager as ManagerImpl
