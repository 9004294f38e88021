/**
 * How a program reaches what calls do with context handles: through the schema of a handle, so that other programs do not load it.
 */
import type * as Exit from "effect/Exit"
import type * as SchemaAST from "effect/SchemaAST"
import type { BadStubData, ContextMismatch, NullContext } from "../Status.ts"
import { finder, type Parameter } from "./handleSchema.ts"
import type { Holding, Identity, Owner } from "./handleTable.ts"

/** The annotation of a handle's schema that holds the rules. */
export const RulesId = "~callisto/ContextHandle/Rules"

/** The rules for the context handles in a schema, at any depth; `undefined` where it contains none. */
export const rulesIn: (ast: SchemaAST.AST) => Rules | undefined = finder(({ annotations }) =>
  annotations?.[RulesId] as Rules | undefined
)

/** The context handles among the parameters of a method. */
export interface Carried {
  readonly handlesIn: ReadonlyArray<Parameter> | undefined
  readonly handlesOut: ReadonlyArray<Parameter> | undefined
}

/** A method, as far as it has context handles. */
export interface Method {
  readonly in: { readonly ast: SchemaAST.AST }
  readonly out: { readonly ast: SchemaAST.AST }
  readonly aborts: ReadonlyArray<{ readonly code: number }>
}

/** A server's call, as the rules see it. */
export interface Carrier {
  readonly dispatch: {
    readonly operation: Carried & { readonly name: string; readonly interface: Identity & { readonly name: string } }
  }
  readonly origin: Owner
  readonly isOpen: boolean
  holding: Holding | undefined
  start(input: unknown): void
  end(outcome: Exit.Exit<never, ContextMismatch>): unknown
}

export interface Rules {
  /** The context handles of a method, or their problem: a place and a sentence. */
  readonly carriedBy: (method: Method) => Carried | string
  /** Why a client can't send its arguments. */
  readonly refuseIn: (parameters: ReadonlyArray<Parameter>, input: unknown) => BadStubData | NullContext | undefined
  /** Why a server can't send its out parameters: each is null, or open in this association. */
  readonly refuseOut: (call: Carrier, out: unknown) => BadStubData | undefined
  /** Lets a server's call stand in line for its handles, or gives the reason why it may not carry them. */
  readonly claim: (call: Carrier, input: unknown) => ContextMismatch | undefined
}
