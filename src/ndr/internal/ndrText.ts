/**
 * Text in NDR: UTF-16 or one byte a character, by the fastest means of each runtime.
 */
import { Refusal, status } from "./ndrStream.ts"

/** The part that text needs of the `Buffer` that Node, Bun and Deno have, and browsers do not. */
interface NativeBuffer {
  from(buffer: ArrayBufferLike, offset: number, length: number): {
    write(text: string, encoding: "utf16le"): number
    toString(encoding: "utf16le" | "latin1"): string
  }
}

const { Buffer: native, Deno: deno } = globalThis as {
  readonly Buffer?: NativeBuffer | undefined
  readonly Deno?: unknown
}

/** Deno writes UTF-16 in JavaScript, slower than the loop here. */
const nativeWriter = deno === undefined ? native : undefined

/** Shorter text is not worth a call into the runtime. */
const worthACall = 24

const isPlatformLittle = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1

const refuseNul = (): never => {
  throw new Refusal(status.badStubData, "a string that holds NUL ends there for its reader")
}

/** Writes text and its NUL, for which there is room, and gives the position behind them. */
export const writeWide = (text: string, bytes: Uint8Array, start: number, littleEndian: boolean): number => {
  if (text.includes("\0")) refuseNul()
  const end = writeUnits(text, bytes, start, true, littleEndian)
  bytes[end] = 0
  bytes[end + 1] = 0
  return end + 2
}

/** The same for one byte a character, which is refused above U+00FF. */
export const writeNarrow = (text: string, bytes: Uint8Array, start: number): number => {
  if (text.includes("\0")) refuseNul()
  const end = writeUnits(text, bytes, start, false, true)
  bytes[end] = 0
  return end + 1
}

/** Writes text, NULs too, for which there is room, and gives the position behind it. */
export const writeUnits = (
  text: string,
  bytes: Uint8Array,
  start: number,
  wide: boolean,
  littleEndian: boolean
): number => {
  const { length } = text
  const offset = bytes.byteOffset + start
  if (!wide) {
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i)
      if (code > 0xff) {
        throw new Refusal(status.badStubData, `${JSON.stringify(text[i])} is not a character from U+0000 to U+00FF`)
      }
      bytes[start + i] = code
    }
    return start + length
  }
  if (littleEndian && length >= worthACall && nativeWriter !== undefined) {
    nativeWriter.from(bytes.buffer, offset, 2 * length).write(text, "utf16le")
  } else if (littleEndian && isPlatformLittle && length >= worthACall && offset % 2 === 0) {
    const units = new Uint16Array(bytes.buffer, offset, length)
    for (let i = 0; i < length; i++) units[i] = text.charCodeAt(i)
  } else {
    const low = littleEndian ? 0 : 1
    const high = 1 - low
    for (let i = 0, at = start; i < length; i++, at += 2) {
      const code = text.charCodeAt(i)
      bytes[at + low] = code
      bytes[at + high] = code >>> 8
    }
  }
  return start + 2 * length
}

/** It replaces lone surrogates otherwise. */
const decoder = new TextDecoder("utf-16le", { fatal: true, ignoreBOM: true })

/** Reads `count` units up to the first NUL, where a reader in C stops. */
export const readText = (
  bytes: Uint8Array,
  start: number,
  count: number,
  wide: boolean,
  littleEndian: boolean
): string => {
  const text = readUnits(bytes, start, count, wide, littleEndian)
  const end = text.indexOf("\0")
  return end < 0 ? text : text.slice(0, end)
}

/** Reads `count` units, NULs too. */
export const readUnits = (
  bytes: Uint8Array,
  start: number,
  count: number,
  wide: boolean,
  littleEndian: boolean
): string =>
  (count < worthACall || wide && !littleEndian ? undefined : readAtOnce(bytes, start, count, wide)) ??
    readEach(bytes, start, count, wide, littleEndian)

const readAtOnce = (bytes: Uint8Array, start: number, count: number, wide: boolean): string | undefined => {
  const size = wide ? 2 * count : count
  if (native !== undefined) {
    return native.from(bytes.buffer, bytes.byteOffset + start, size).toString(wide ? "utf16le" : "latin1")
  }
  if (!wide) return undefined
  try {
    return decoder.decode(bytes.subarray(start, start + size))
  } catch {
    // A lone surrogate.
    return undefined
  }
}

const chunk = 4096

const readEach = (bytes: Uint8Array, start: number, count: number, wide: boolean, littleEndian: boolean): string => {
  const low = littleEndian ? 0 : 1
  let text = ""
  let units: Array<number> = []
  for (let i = 0; i < count; i++) {
    const at = start + 2 * i
    const unit = wide ? bytes[at + low]! | bytes[at + 1 - low]! << 8 : bytes[start + i]!
    if (units.push(unit) === chunk) {
      text += String.fromCharCode.apply(null, units)
      units = []
    }
  }
  return text + String.fromCharCode.apply(null, units)
}
