/**
 * Ranges of numbers and of counts.
 */
import type * as SchemaAST from "effect/SchemaAST"
import type { Bounded, Representation } from "./ndrCodec.ts"
import { Refusal, status } from "./ndrStream.ts"
import { refuseDefinition } from "./ndrValues.ts"

/** The values of a schema that are within a range. */
export const ranged = (
  of: SchemaAST.AST,
  { bounded, ...representation }: Representation & { readonly bounded: Bounded },
  minimum: number | bigint,
  maximum: number | bigint
): Representation => ({
  ...representation,
  bounded,
  form: ["range", of, minimum, maximum],
  make: (compiler) => {
    const node = compiler.whole(of)
    if (node.readInto !== undefined) return refuseDefinition("a range is that of what a pointer points to")
    const { counts, integer } = node
    const isWithin = (number: number | bigint): boolean => number >= minimum && number <= maximum
    const check = (number: number | bigint): void => {
      if (isWithin(number)) return
      const what = bounded.by === "value" || bounded.by === "name" ? number : `${number} elements`
      throw new Refusal(status.badStubData, `${what}, and the range is ${minimum} to ${maximum}`)
    }
    return {
      ...node,
      integer: integer && {
        ...integer,
        labelOf: (label) => {
          const number = integer.labelOf(label)
          return number === undefined || isWithin(bounded.of(integer.valueOf(number))) ? number : undefined
        },
        write: (to, number) => {
          check(bounded.of(integer.valueOf(number)))
          integer.write(to, number)
        },
        read: (from) => {
          const number = integer.read(from)
          check(bounded.of(integer.valueOf(number)))
          return number
        }
      },
      write: (to, value) => {
        node.write(to, value)
        check(bounded.of(value))
      },
      read: (from) => {
        const value = node.read(from)
        check(counts?.size ? from.maxCount : counts?.length ? from.actualCount : bounded.of(value))
        return value
      }
    }
  }
})
