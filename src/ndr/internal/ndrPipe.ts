/**
 * The elements of a pipe in NDR.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Parameters } from "../../Interface.ts"
import { compileElement } from "./ndrCodec.ts"
import { lackIn } from "./ndrForm.ts"
import { type Measure, measureOf } from "./ndrExtent.ts"
import { guarded, refused, type RefusedStub } from "./ndrErrors.ts"
import { Decoder, Encoder, type Input, type Output, Refusal, status, Truncated } from "./ndrStream.ts"

/** The bytes of a pipe that were not read yet. */
export interface ElementsInput extends Input {
  /** Measures the element at the position, of which only a part is there. */
  partial: Measure | number | undefined
}

/** The elements of a pipe, one behind another. */
export interface ElementsCodec {
  /** Writes the elements of a chunk at the writer's position. */
  encode(writer: Output, elements: ReadonlyArray<unknown>): Result.Result<void, RefusedStub>
  /**
   * Reads as many elements as the bytes hold, up to `count`, and leaves the reader behind them. An element of which a part is
   * there is measured from where that stopped, and read when all of it is there.
   */
  decode(reader: ElementsInput, count: number): Result.Result<ReadonlyArray<unknown>, RefusedStub>
}

/**
 * The codec of the elements of a pipe of that name, or `undefined` for a schema that has no NDR form. Throws a `TypeError` for one that has, but does not
 * flow through pipes: elements hold no pointers, strings, and conformant or varying arrays.
 */
export const elementsCodecOf = (element: Parameters, pipe: string): ElementsCodec | undefined => {
  // As the one parameter, so that a structure is aligned as a whole.
  const parameter = Schema.Struct({ element })
  if (lackIn(pipe, element.ast, true) !== undefined) return undefined
  const program = compileElement(parameter.ast, pipe)
  const node = program.node!
  const { align, extent } = node
  const toWire = program.transforms ? guarded(Schema.encodeUnknownExit(parameter)) : Result.succeed<unknown>
  const fromWire = program.transforms ? guarded(Schema.decodeUnknownExit(parameter)) : Result.succeed<unknown>
  /** Whether all of the next element is there, as far as that is known before it is read. */
  const isWhole = (reader: ElementsInput, decoder: Decoder): boolean => {
    if (typeof extent === "number") return (reader.position + align - 1 & -align) + extent <= decoder.end
    if (typeof reader.partial === "function") {
      reader.partial = reader.partial(decoder, reader.position) ?? reader.partial
    }
    return reader.partial === undefined ||
      typeof reader.partial === "number" && reader.position + reader.partial <= decoder.end
  }
  return {
    encode: (writer, elements) => {
      const written = writer.position - writer.stub
      try {
        const encoder = new Encoder(writer)
        for (const element of elements) {
          const wire = toWire({ element })
          if (Result.isFailure(wire)) throw new Refusal(status.badStubData, wire.failure)
          program.write(encoder, wire.success)
        }
        encoder.finish()
        return Result.void
      } catch (error) {
        writer.position = writer.stub + written
        return refused(error)
      }
    },
    decode: (reader, count) => {
      const elements: Array<unknown> = []
      // An element takes a byte for each of its values.
      const decoder = new Decoder(reader, Infinity)
      try {
        while (elements.length < count && reader.position < decoder.end && isWhole(reader, decoder)) {
          decoder.position = reader.position
          const value = fromWire(program.read(decoder))
          if (Result.isFailure(value)) throw new Refusal(status.badStubData, value.failure)
          elements.push((value.success as { readonly element: unknown }).element)
          reader.position = decoder.position
          reader.partial = undefined
        }
      } catch (error) {
        if (!(error instanceof Truncated)) return refused(error)
        const measure = measureOf(node)
        reader.partial = measure(decoder, reader.position) ?? measure
      }
      return Result.succeed(elements)
    }
  }
}
