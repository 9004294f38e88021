/**
 * Where values end in bytes that have not all arrived: elements of pipes alone are measured so.
 */
import type { Cursor, Decoder, Node } from "./ndrStream.ts"

/** Moves a cursor behind `size` bytes that are aligned. */
export const advance = (cursor: Cursor, align: number, size: number): void => {
  cursor.position = ((cursor.start + cursor.position + align - 1) & -align) - cursor.start + size
}

/** Moves a cursor behind so many values. */
export const pass = function* ({ align, extent }: Node, count: number, cursor: Cursor): Generator<undefined, void> {
  if (typeof extent === "number") {
    if (count > 0) advance(cursor, align, (count - 1) * (extent + align - 1 & -align) + extent)
  } else {
    for (let i = 0; i < count; i++) yield* extent(cursor)
  }
}

/** The extent of a structure. */
export const extentOf = (align: number, nodes: ReadonlyArray<Node>): Node["extent"] => {
  let size = 0
  for (const node of nodes) {
    if (typeof node.extent !== "number") {
      return function* (cursor) {
        advance(cursor, align, 0)
        for (const node of nodes) yield* pass(node, 1, cursor)
      }
    }
    size = (size + node.align - 1 & -node.align) + node.extent
  }
  return size
}

/** Measures a value as far as its bytes are there, and gives its size when that is known. */
export type Measure = (from: Decoder, start: number) => number | undefined

/** Begins to measure a value. */
export const measureOf = (node: Node): Measure => {
  const cursor: Cursor = { from: undefined as never, start: 0, position: 0 }
  let steps: Generator<undefined, void> | undefined
  return (from, start) => {
    cursor.from = from
    cursor.start = start
    steps ??= pass(node, 1, cursor)
    return steps.next().done ? cursor.position : undefined
  }
}
