/**
 * Pointers of the three kinds.
 */
import type * as SchemaAST from "effect/SchemaAST"
import type { PointerKind, Representation } from "./ndrCodec.ts"
import { makeNode, type Node, type Pointer } from "./ndrStream.ts"
import { referent, refusePointerToNull } from "./ndrValues.ts"

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
        if (kind === "full") from.share(id, node, out, key, link)
        else from.refer(node, out, key, link)
        return true
      }
    }
    if (kind === "full") compiler.shares()
    compiler.behind(target, (node) => {
      pointer.target = optional && node.nested || node
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
          else if (kind === "full") to.share(pointer.target!, value)
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
