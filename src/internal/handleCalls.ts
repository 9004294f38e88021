/**
 * The context handles of calls.
 */
import * as Exit from "effect/Exit"
import type * as SchemaAST from "effect/SchemaAST"
import { BadStubData, NullContext } from "../Status.ts"
import { badInput } from "./badInput.ts"
import { contextMismatch } from "./failures.ts"
import { type Rules, rulesIn } from "./handleRules.ts"
import { declaredIn, Handle, type Parameter, valueOf } from "./handleSchema.ts"
import { handlesOf, Holding } from "./handleTable.ts"

export const rules: Rules = {
  carriedBy: ({ aborts, in: input, out }) => {
    const handlesIn = parametersOf(input.ast)
    const handlesOut = parametersOf(out.ast)
    if (typeof handlesIn === "string") return `, in: ${handlesIn}`
    if (typeof handlesOut === "string") return `, out: ${handlesOut}`
    return handlesIn !== undefined && aborts.some(({ code }) => code === 6)
      ? ": an abort has code 6, which means that the server does not know a context handle"
      : { handlesIn, handlesOut }
  },

  refuseIn: (parameters, input) => {
    for (const { name, nullable } of parameters) {
      const value = valueOf(input, name)
      if (value === null ? !nullable : value instanceof Handle && value.destroyed) {
        return new NullContext({ parameter: name })
      }
      if (value !== null && !(value instanceof Handle)) {
        return badInput(`${name} is not a context handle`)
      }
    }
    return undefined
  },

  refuseOut: ({ dispatch: { operation: { handlesOut, interface: iface, name } }, origin }, out) => {
    if (handlesOut === undefined || handlesOf(origin).findAll(out, iface, handlesOut) !== undefined) return undefined
    const detail =
      `The out parameters of ${iface.name}.${name} were refused: a context handle is not open, or is of another client.`
    return new BadStubData({ detail })
  },

  claim: (call, input) => {
    const { handlesIn, interface: iface } = call.dispatch.operation
    const found = handlesOf(call.origin).findAll(input, iface, handlesIn!)
    if (found === undefined) return contextMismatch(true)
    if (found.size === 0) return undefined
    call.holding = new Holding(
      () => call.isOpen && call.start(input),
      () => call.isOpen && call.end(Exit.fail(contextMismatch(true)))
    )
    call.holding.claim(found)
    return undefined
  }
}

// ----------------------------------------------------------------------------
// parameters
// ----------------------------------------------------------------------------

const misplaced = "a context handle must be a parameter itself, not a part of one"

/** The context handles among parameters. The result is `undefined` without a handle, and a sentence for a misplaced handle. */
const parametersOf = (ast: SchemaAST.AST): ReadonlyArray<Parameter> | string | undefined => {
  const contains = (part: SchemaAST.AST) => rulesIn(part) !== undefined
  if (ast._tag !== "Objects" || ast.encoding !== undefined) return contains(ast) ? misplaced : undefined
  const found: Array<Parameter> = []
  for (const { name, type } of ast.propertySignatures) {
    const declared = declaredIn(type)
    if (declared === undefined) {
      if (contains(type)) return misplaced
    } else if (typeof name !== "string" || type.context?.isOptional === true) {
      return "a context handle cannot be optional. Use ContextHandle.nullable for one that may be null"
    } else {
      found.push({ name, ...declared })
    }
  }
  if (ast.indexSignatures.some(({ type }) => contains(type))) return misplaced
  return found.length === 0 ? undefined : found
}
