/**
 * Which types are the same, although they were made by separate calls.
 */
import type * as SchemaAST from "effect/SchemaAST"
import { annotationIn, type Representation, structure, wireOf } from "./ndrCodec.ts"

/** Whether two types are made alike of the same parts. Types that contain themselves are the same where no part differs. */
export const isSame = (left: SchemaAST.AST, right: SchemaAST.AST): boolean => {
  const compared = new Map<SchemaAST.AST, Set<SchemaAST.AST>>()
  const pending: Array<readonly [SchemaAST.AST, SchemaAST.AST]> = [[left, right]]
  for (let pair = pending.pop(); pair !== undefined; pair = pending.pop()) {
    const [a, b] = [wireOf(pair[0]), wireOf(pair[1])]
    const others = compared.get(a) ?? new Set()
    if (a === b || others.has(b)) continue
    compared.set(a, others.add(b))
    const own = makeOf(a)
    const other = makeOf(b)
    if (own.text === undefined || own.text !== other.text || own.parts.length !== other.parts.length) return false
    for (const [i, part] of own.parts.entries()) pending.push([part, other.parts[i]!])
  }
  return true
}

interface Make {
  /** All of the type but its parts; `undefined` where nothing else is the same. */
  readonly text: string | undefined
  readonly parts: ReadonlyArray<SchemaAST.AST>
}

const makeOf = (ast: SchemaAST.AST): Make => {
  const representation: Representation = annotationIn(ast)?.representation ?? structure
  const { derived, form, parts = [], pointer } = representation
  if (pointer !== undefined) return { text: pointer.kind, parts }
  if (derived !== undefined) {
    const { fields, type, unit, what } = derived
    return { text: JSON.stringify([what, fields, unit]), parts: type === undefined ? [] : [type] }
  }
  if (form !== undefined) return { text: JSON.stringify(form, plain), parts }
  if (representation !== structure || ast._tag !== "Objects") return { text: undefined, parts }
  const fields = ast.propertySignatures
  return { text: JSON.stringify(fields.map(({ name }) => String(name))), parts: fields.map(({ type }) => type) }
}

/** Types stand among the parts; what is no type is told as it is. */
const plain = (_key: string, value: unknown): unknown => {
  if (typeof value === "bigint") return `${value}n`
  if (value instanceof Map) return [...value]
  const tag = (value as { readonly _tag?: unknown } | null | undefined)?._tag
  return tag === undefined ? value : tag === "Void"
}
