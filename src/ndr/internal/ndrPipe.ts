/**
 * The elements of a pipe in NDR.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Parameters } from "../../Interface.ts"
import { compileElement } from "./ndrCodec.ts"
import { ndrError, refused, type RefusedStub } from "./ndrErrors.ts"
import { Decoder, Encoder, type Input, type Output, Refusal, status, Truncated } from "./ndrStream.ts"

/** The elements of a pipe, one behind another. */
export interface ElementsCodec {
  /** Writes the elements of a chunk at the writer's position. */
  encode(writer: Output, elements: ReadonlyArray<unknown>): Result.Result<void, RefusedStub>
  /** Reads as many elements as the bytes hold, up to `count`, and leaves the reader behind them. */
  decode(reader: Input, count: number): Result.Result<ReadonlyArray<unknown>, RefusedStub>
}

/**
 * The codec of the elements of a pipe of that name, or `undefined` for a schema that has no NDR form. Throws a `TypeError` for one that has, but does not
 * flow through pipes: elements hold no pointers, strings, and conformant or varying arrays.
 */
export const elementsCodecOf = (element: Parameters, pipe: string): ElementsCodec | undefined => {
  // As the one parameter, so that a structure is aligned as a whole.
  const parameter = Schema.Struct({ element })
  const program = compileElement(parameter.ast, pipe)
  if (program === undefined) return undefined
  const { minimum } = program
  const toWire = program.transforms ? Schema.encodeUnknownSync(parameter) : undefined
  const fromWire = program.transforms ? Schema.decodeUnknownSync(parameter) : undefined
  return {
    encode: (writer, elements) => {
      const written = writer.position - writer.stub
      try {
        const encoder = new Encoder(writer)
        for (const element of elements) program.write(encoder, toWire === undefined ? { element } : toWire({ element }))
        encoder.finish()
        return Result.void
      } catch (error) {
        writer.position = writer.stub + written
        return refusedElement(error)
      }
    },
    decode: (reader, count) => {
      const elements: Array<unknown> = []
      const decoder = new Decoder(reader)
      const { length } = reader.bytes
      try {
        while (elements.length < count && length - reader.position >= minimum) {
          const wire = program.read(decoder)
          const value = fromWire === undefined ? wire : fromWire(wire)
          elements.push((value as { readonly element: unknown }).element)
          reader.position = decoder.position
        }
      } catch (error) {
        if (!(error instanceof Truncated)) return refusedElement(error)
      }
      return Result.succeed(elements)
    }
  }
}

const refusedElement = (error: unknown): Result.Result<never, RefusedStub> =>
  error instanceof Refusal || !(error instanceof Error)
    ? refused(error)
    : Result.fail(ndrError(status.badStubData, "", error.message))
