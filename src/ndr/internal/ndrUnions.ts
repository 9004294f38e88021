/**
 * Unions.
 */
import type * as SchemaAST from "effect/SchemaAST"
import type { Representation } from "./ndrCodec.ts"
import { advance, pass } from "./ndrExtent.ts"
import { type Cursor, type Integer, makeNode, type Node, Refusal, status, within } from "./ndrStream.ts"
import { object, refuseDefinition, show } from "./ndrValues.ts"

/** One arm of a union. The default arm has no label; an empty arm has the type `Void`. */
export interface Arm {
  readonly label: string | number | undefined
  readonly type: SchemaAST.AST
}

/** A union; `aligned` says that each arm begins at the largest alignment of all, as `ms_union` does. */
export const union = (
  discriminant: SchemaAST.AST,
  arms: ReadonlyArray<Arm>,
  aligned: boolean
): Representation => ({
  flows: true,
  discriminant,
  form: ["union", discriminant, arms, aligned],
  parts: [discriminant, ...arms.flatMap(({ type }) => type._tag === "Void" ? [] : [type])],
  make: (compiler) => {
    const type = compiler.at("case", () => compiler.part(discriminant))
    const { integer } = type
    if (integer === undefined) return refuseDefinition("its discriminant is not an integer of at most 32 bits")
    const byNumber = new Map<number, UnionArm>()
    let rest: UnionArm | undefined
    let largest = 1
    let pointers = false
    for (const { label, type } of arms) {
      const empty = type._tag === "Void"
      const node = empty ? undefined : compiler.at(String(label ?? "default"), () => compiler.part(type))
      if (node !== undefined) {
        largest = Math.max(largest, node.align)
        pointers ||= node.pointers
      }
      if (label === undefined) rest = { label, node }
      else {
        const number = labelNumber(integer, label)
        const other = byNumber.get(number)
        if (other !== undefined) {
          refuseDefinition(`the labels ${show(other.label)} and ${show(label)} are the same number. Leave one out`)
        }
        byNumber.set(number, { label, node })
      }
    }
    const align = Math.max(type.align, largest)
    const armAlign = aligned ? largest : 1
    const numberOf = (value: unknown): number => {
      const fields = object(value)
      const label = rest !== undefined && fields["case"] === undefined ? fields["default"] : fields["case"]
      const number = integer.numberOf(label)
      if (byNumber.has(number) ? fields["case"] === undefined : fields["case"] !== undefined || rest === undefined) {
        throw new Refusal(status.invalidTag, `the union has no such arm: ${show(label)}`)
      }
      return number
    }
    const extent = function* (cursor: Cursor): Generator<undefined, void> {
      advance(cursor, type.align, type.minimum)
      while (cursor.start + cursor.position > cursor.from.end) yield
      cursor.from.position = cursor.start + cursor.position - type.minimum
      const arm = byNumber.get(integer.read(cursor.from)) ?? rest
      advance(cursor, armAlign, 0)
      // A discriminant without an arm is refused when the value is read.
      if (arm?.node !== undefined) yield* pass(arm.node, 1, cursor)
    }
    const node: Node = {
      ...makeNode(),
      ready: true,
      align,
      minimum: type.minimum,
      extent,
      pointers,
      discriminant: numberOf,
      write: (to, value) => {
        const number = numberOf(value)
        integer.write(to, number)
        to.align(armAlign)
        const { node } = byNumber.get(number) ?? rest!
        if (node === undefined) return
        const { path } = to
        if (node.pointers) to.path = { key: "value", parent: path }
        try {
          node.write(to, value.value)
        } catch (error) {
          throw within(error, "value")
        }
        to.path = path
      },
      read: (from) => {
        const number = integer.read(from)
        const arm = byNumber.get(number) ?? rest
        if (arm === undefined) throw new Refusal(status.invalidTag, `the union has no arm for ${number}`)
        from.align(armAlign)
        // An empty arm is padded too.
        from.require(0, 1)
        const out: Record<string, unknown> = arm.label === undefined
          ? { default: integer.valueOf(number) }
          : { case: arm.label }
        if (arm.node !== undefined) {
          from.charge(arm.node.values)
          const { path } = from
          if (arm.node.pointers) from.path = { key: "value", parent: path }
          try {
            from.part(arm.node, out, "value", undefined)
          } catch (error) {
            throw within(error, "value")
          }
          from.path = path
        }
        from.discriminant = number
        return out
      }
    }
    if (!aligned) return node
    const inArray: Node = {
      ...node,
      extent: function* (cursor) {
        advance(cursor, largest, 0)
        yield* extent(cursor)
      },
      write: (to, value) => {
        to.align(largest)
        node.write(to, value)
      },
      read: (from) => {
        from.align(largest)
        return node.read(from)
      }
    }
    return { ...node, inArray }
  }
})

interface UnionArm {
  readonly label: string | number | undefined
  readonly node: Node | undefined
}

const labelNumber = (integer: Integer, label: string | number): number =>
  integer.labelOf(label) ??
    refuseDefinition(`the label ${show(label)} is no value of its discriminant`)
