/**
 * Pointers of the three kinds.
 */
import type * as SchemaAST from "effect/SchemaAST"
import type { PointerKind, Representation } from "./ndrCodec.ts"
import { isSame } from "./ndrSame.ts"
import { makeNode, type Node, type Pointer } from "./ndrStream.ts"
import { referent, refusePointerToNull } from "./ndrValues.ts"

/** The target of full pointers, in either of its forms. */
const shared = new WeakMap<Node, { readonly type: SchemaAST.AST; readonly same: WeakMap<Node, boolean> }>()

/** Whether full pointers to these types may be to one object. */
const isShared = (node: Node, other: Node): boolean => {
  const own = shared.get(node)!
  const known = own.same.get(other)
  if (known !== undefined) return known
  const same = (node.readInto === undefined) === (other.readInto === undefined) &&
    isSame(own.type, shared.get(other)!.type)
  own.same.set(other, same)
  return same
}

/** A pointer to values of a schema. */
export const pointer = (kind: PointerKind, target: SchemaAST.AST): Representation => ({
  flows: false,
  pointer: { kind, target },
  parts: [target],
  make: (compiler) => {
    const optional = kind !== "ref"
    const pointer: Pointer = {
      optional,
      target: undefined,
      read: (from, out, key, link, nested) => {
        const id = from.uint32()
        if (id === 0 && optional) return false
        const { target } = pointer
        const node = nested && target!.nested || target!
        if (kind === "full") from.share(id, node, isShared, out, key, link)
        else from.refer(node, out, key, link)
        return true
      }
    }
    if (kind === "full") compiler.shares()
    compiler.behind(target, (node) => {
      pointer.target = optional && node.nested || node
      if (kind !== "full") return
      for (const form of [node, node.nested]) {
        if (form !== undefined && !shared.has(form)) shared.set(form, { type: target, same: new WeakMap() })
      }
    })
    const node: Partial<Node> = {
      align: 4,
      minimum: 4,
      pointers: true,
      pointer,
      write: kind === "ref"
        ? (to, value) => to.refer(pointer.target!, pointer.target!.nested === undefined ? referent(value) : value)
        : (to, value) => {
          if (value == null) to.uint32(0)
          else if (kind === "full") to.share(pointer.target!, isShared, value)
          else to.refer(pointer.target!, value)
        }
    }
    return {
      ...node,
      readInto: (from, out, key, link) => {
        out[key] = null
        pointer.read(from, out, key, link, false)
      },
      nested: {
        ...makeNode(),
        ...node,
        ready: true,
        readInto: (from, out, key, link) => {
          if (!pointer.read(from, out, key, link, true)) refusePointerToNull()
        }
      }
    }
  }
})
