/**
 * Arguments as text. It costs no more than the characters that are shown, however large or nested they are.
 */
import { cut, maximumInput } from "./feed.ts"

const maximumDepth = 6
const maximumBytes = 32

class Printer {
  text = ""

  get isFull(): boolean {
    return this.text.length > maximumInput
  }

  print(value: unknown, depth: number): void {
    if (this.isFull) return
    switch (typeof value) {
      case "string":
        this.text += JSON.stringify(cut(value, maximumInput))
        return
      case "bigint":
        this.text += `${value}n`
        return
      case "function":
        this.text += "[function]"
        return
      case "object":
        return value === null ? void (this.text += "null") : this.#object(value, depth)
      default:
        this.text += String(value)
    }
  }

  #object(value: object, depth: number): void {
    if (ArrayBuffer.isView(value)) {
      const { byteLength } = value
      const bytes = new Uint8Array(value.buffer, value.byteOffset, Math.min(byteLength, maximumBytes))
      const shown = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ")
      this.text += `<${byteLength} bytes${shown === "" ? "" : `: ${shown}`}${byteLength > maximumBytes ? " …" : ""}>`
    } else if (depth >= maximumDepth) this.text += "…"
    // Secrets and handles print what they want to be seen of them.
    else if ("toJSON" in value && typeof value.toJSON === "function") this.print(value.toJSON(), depth + 1)
    else if (Array.isArray(value)) this.#items("[", value, "]", depth)
    else if (value instanceof Map) this.#items("Map [", value, "]", depth)
    else if (value instanceof Set) this.#items("Set [", value, "]", depth)
    else this.#fields(value, depth)
  }

  #items(open: string, items: Iterable<unknown>, close: string, depth: number): void {
    this.text += open
    let isFirst = true
    for (const item of items) {
      if (this.isFull) return
      if (!isFirst) this.text += ", "
      isFirst = false
      this.print(item, depth + 1)
    }
    this.text += close
  }

  #fields(value: object, depth: number): void {
    this.text += "{"
    let isFirst = true
    for (const key in value) {
      if (this.isFull) return
      const field = Object.getOwnPropertyDescriptor(value, key)
      if (field === undefined) continue
      this.text += `${isFirst ? " " : ", "}${/^\w+$/.test(key) ? cut(key) : JSON.stringify(cut(key))}: `
      isFirst = false
      // A getter is code of the program.
      if ("value" in field) this.print(field.value, depth + 1)
      else this.text += "[getter]"
    }
    this.text += isFirst ? "}" : " }"
  }
}

/** The arguments of a call as text. */
export const preview = (value: unknown): string => {
  const printer = new Printer()
  try {
    printer.print(value, 0)
  } catch {
    printer.text += " [not printable]"
  }
  return cut(printer.text, maximumInput)
}
