/**
 * Which schemas have a form in NDR. Nothing is compiled for it.
 */
import type * as SchemaAST from "effect/SchemaAST"
import { declaredIn, finder } from "../../internal/handleSchema.ts"
import { annotationIn, structure, wireOf } from "./ndrCodec.ts"

/** What has a form, with all its parts. */
const formed = new WeakSet<SchemaAST.AST>()

/** What in the schema of parameters, or of the elements of a pipe, has no form in NDR; `undefined` where all has one. */
export const lackIn = (name: string, ast: SchemaAST.AST, inPipe?: boolean): string | undefined => {
  const paths = new Map([[wireOf(ast), name]])
  if (!inPipe && wireOf(ast)._tag === "Void") return undefined
  for (const [part, path] of paths) {
    if (!inPipe && formed.has(part)) continue
    const representation = annotationIn(part)?.representation ?? structure
    for (const inner of representation.parts ?? []) paths.set(wireOf(inner), path)
    if (representation !== structure) continue
    const lack = `${path} (${part._tag})`
    if (part._tag !== "Objects" || part.indexSignatures.length > 0) return lack
    // Elements of no size could not be counted.
    if (inPipe && part.propertySignatures.length === 0) return lack
    for (const { name, type } of part.propertySignatures) {
      const field = `${path}.${String(name)}`
      const isDerived = annotationIn(type)?.representation.derived !== undefined
      if (typeof name !== "string" || type.context?.isOptional && !isDerived) return `${field} (optional)`
      paths.set(wireOf(type), field)
    }
  }
  for (const part of paths.keys()) formed.add(part)
  return undefined
}

/** Whether a type of `Ndr` is among the parts of a schema. */
export const usesNdr: (ast: SchemaAST.AST) => boolean | undefined = finder((part) =>
  annotationIn(part) !== undefined && declaredIn(part) === undefined || undefined
)
