/** What is printed is what is made at run time, and both are right: golden modules, and the vectors of NDR. */
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import process from "node:process"
import { fileURLToPath } from "node:url"
import type { Interface } from "../../mod.ts"
import { Idl } from "../../src/idl.ts"
import * as Ndr from "../../src/ndr/Ndr.ts"

const folder = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
const read = (path: string): string => readFileSync(folder(path), "utf8")

/** With this variable the golden modules are written anew. */
const update = process.env["CALLISTO_UPDATE"] === "1"

/** Compares a printed module with the one that is kept. */
const golden = (path: string, text: string): void => {
  if (update) {
    mkdirSync(folder(path.replace(/[^/]*$/, "")), { recursive: true })
    writeFileSync(folder(path), text)
  }
  assert.strictEqual(
    existsSync(folder(path)) ? read(path) : "",
    text,
    `${path}: run with CALLISTO_UPDATE=1 after a look`
  )
}

describe("printed modules", () => {
  const folders = { files: "golden", "../../examples": "../../examples" }
  for (const [from, to] of Object.entries(folders)) {
    for (const file of readdirSync(folder(from)).filter((name) => name.endsWith(".idl")).sort()) {
      it(`${file}: prints the module that is kept`, () => {
        const { document, problems } = Idl.parse({ [file]: read(`${from}/${file}`) }, file)
        assert.deepStrictEqual(problems, [])
        golden(`${to}/${file.replace(/idl$/, "ts")}`, Idl.print(document))
      })

      it(`${file}: printed twice gives the same bytes`, () => {
        const print = (): string => Idl.print(Idl.parse({ [file]: read(`${from}/${file}`) }, file).document)
        assert.strictEqual(print(), print())
      })
    }
  }
})

interface Vector {
  readonly name: string
  readonly direction: "in" | "out"
  readonly method: string
  readonly idl: string
  readonly bytes: string
  readonly refuse?: number
  readonly pipes?: boolean
}

const fromHex = (text: string): Uint8Array =>
  Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16))

const toHex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")

/** Referent ids may be any numbers: what is written has to read as the same value, and be written alike again. */
const againOf = (iface: Interface.Interface.Any, { bytes, direction, method }: Vector): string => {
  const codec = Ndr.codecOf(iface.methods[method]![direction])!
  const reader = Ndr.makeReader(fromHex(bytes))
  const decoded = codec.decode(reader)
  if (Result.isFailure(decoded)) return `refused with ${decoded.failure.status}`
  assert.strictEqual(reader.position, bytes.length / 2, "bytes were left")
  const writer = Ndr.makeWriter()
  const encoded = codec.encode(writer, decoded.success)
  if (Result.isFailure(encoded)) return `not written: ${encoded.failure.message}`
  return toHex(writer.bytes.subarray(0, writer.position))
}

describe("vectors of NDR through their IDL", () => {
  const names = readdirSync(folder("../ndr/vectors")).filter((name) => name.endsWith(".json")).sort()

  it("23 vectors are there", () => assert.strictEqual(names.length, 23))

  for (const name of names) {
    const vector: Vector = JSON.parse(read(`../ndr/vectors/${name}`))
    const file = `${vector.name}.idl`
    if (vector.name === "first_is") {
      it("first_is: the operation is left out, with its reason", () => {
        const { document } = Idl.parse({ [file]: vector.idl }, file)
        assert.include(document.interfaces[0]!.leftOut[0]!.reason, "first_is")
      })
      continue
    }
    it(`${vector.name}: described and printed, its bytes are read and written alike`, async () => {
      const { document, interfaces, problems } = Idl.describe({ [file]: vector.idl }, file)
      assert.deepStrictEqual(problems, [])
      golden(`golden/vectors/${vector.name}.ts`, Idl.print(document))
      const printed = await import(`./golden/vectors/${vector.name}.ts`) as {
        readonly vectors: Interface.Interface.Any
      }
      if (vector.pipes === true) {
        assert.deepStrictEqual(Object.keys(interfaces["vectors"]!.methods[vector.method]!.outPipe), ["outp"])
        return
      }
      const described = againOf(interfaces["vectors"]!, vector)
      assert.strictEqual(described, vector.refuse === undefined ? vector.bytes : `refused with ${vector.refuse}`)
      assert.strictEqual(againOf(printed.vectors, vector), described)
    })
  }
})
