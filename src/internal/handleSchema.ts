/**
 * Context handles as values, and the schemas that say where they may stand.
 */
import type * as SchemaAST from "effect/SchemaAST"
import type * as Types from "effect/Types"
import { PipeInspectable } from "./inspectable.ts"
import * as Uuid from "./uuid.ts"

// ----------------------------------------------------------------------------
// values
// ----------------------------------------------------------------------------

export const TypeId = "~callisto/ContextHandle"

/** A context handle as the client holds it: 20 opaque bytes that only the server can interpret. */
export class Handle extends PipeInspectable {
  declare readonly "~callisto/ContextHandle": Types.Invariant<string>
  readonly type: string
  readonly attributes: number
  readonly uuid: string
  // Private, so that a printed handle hides its association.
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

  /** Leaves the UUID out, with which a reader of the log could use the handle. */
  toJSON(): { readonly _id: string; readonly type: string; readonly state: string } {
    return { _id: "callisto/ContextHandle", type: this.type, state: this.#destroyed ? "destroyed" : "open" }
  }

  /** Sets what runs when the client forgets the handle. */
  keptBy(forget: () => void): void {
    this.#forget = forget
  }

  destroy(): void {
    this.#destroyed = true
    this.#forget?.()
  }
}

/** The handle that 20 bytes stand for; all zero is the null handle. */
export const fromParts = (type: string, attributes: number, uuid: string): Handle | null =>
  attributes === 0 && uuid === Uuid.nil ? null : new Handle(type, uuid, attributes)

/** The 20 bytes of a handle; those of null are zero. */
export const partsOf = (handle: Handle | null): { readonly attributes: number; readonly uuid: string } =>
  handle ?? { attributes: 0, uuid: Uuid.nil }

// ----------------------------------------------------------------------------
// parameters
// ----------------------------------------------------------------------------

/** The declaration in the schema of a context handle. */
export interface Declared {
  readonly type: string
  readonly nullable: boolean
  readonly shared: boolean
}

/** A context handle among the parameters of a method. */
export interface Parameter extends Declared {
  readonly name: string
}

/** The declaration in the schema of a context handle; `undefined` for any other schema. */
export const declaredIn = (ast: SchemaAST.AST): Declared | undefined =>
  ast.annotations?.[TypeId] as Declared | undefined

/**
 * Finds what a function gives for one of the parts of a schema, at any depth. Where it gives `undefined`, the search goes on with the
 * parts of that part; where it gives another falsy value, without them. A part in which nothing was found is not searched again.
 */
export const finder = <A>(
  find: (part: SchemaAST.AST) => A | undefined
): (ast: SchemaAST.AST) => A | undefined => {
  const clean = new WeakSet<SchemaAST.AST>()
  return (ast) => {
    const seen = new Set([ast])
    for (const part of seen) {
      const found = !clean.has(part) && find(part)
      if (found) return found
      if (found === undefined) { for (const next of partsOfSchema(part)) seen.add(next) }
    }
    for (const part of seen) clean.add(part)
    return undefined
  }
}

/** The fields in which a node of a schema keeps its parts. Each kind of node has some of them. */
type Parts = Partial<
  & Pick<SchemaAST.Objects, "propertySignatures" | "indexSignatures">
  & Pick<SchemaAST.Arrays, "elements" | "rest">
  & Pick<SchemaAST.Union, "types">
  & Pick<SchemaAST.Declaration, "typeParameters">
  & Pick<SchemaAST.Suspend, "thunk">
>

const partsOfSchema = (ast: SchemaAST.AST): ReadonlyArray<SchemaAST.AST> => {
  const parts = ast as Parts
  return [
    ast.encoding?.map(({ to }) => to),
    parts.propertySignatures?.map(({ type }) => type),
    parts.indexSignatures?.flatMap(({ parameter, type }) => [parameter, type]),
    parts.elements,
    parts.rest,
    parts.types,
    parts.typeParameters,
    parts.thunk && [parts.thunk()]
  ].flatMap((found) => found ?? [])
}

/** The value of a parameter. Unchecked parameters may be anything. */
export const valueOf = (parameters: unknown, name: string): unknown =>
  typeof parameters === "object" && parameters !== null && Object.hasOwn(parameters, name)
    ? (parameters as Record<string, unknown>)[name]
    : undefined
