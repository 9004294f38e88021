/**
 * IDL files of others, in the folders that the variable IDL_CORPUS names, with the sign between that PATH has: each is imported, its module type-checks, loads, and
 * each operation reads back random values that it wrote. Without the variable the files of this folder take their place.
 */
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { execFileSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { delimiter, join } from "node:path"
import process from "node:process"
import { fileURLToPath, pathToFileURL } from "node:url"
import type { Interface } from "../../mod.ts"
import { Idl } from "../../src/idl.ts"
import * as Ndr from "../../src/ndr/Ndr.ts"
import { budgetOf, report, seed } from "../budget.ts"
import { random, valuesOf } from "./values.ts"

const here = fileURLToPath(new URL(".", import.meta.url))
const root = fileURLToPath(new URL("../..", import.meta.url))
const corpus = process.env["IDL_CORPUS"]
const folders = corpus?.split(delimiter) ?? [join(here, "files")]

/** The language of the Windows Runtime is another one. */
const isRpc = ([, bytes]: readonly [string, Uint8Array]): boolean =>
  !/^namespace\s/m.test(new TextDecoder().decode(bytes))

const sources = Object.fromEntries(
  folders.flatMap((folder) =>
    readdirSync(folder).filter((name) => name.endsWith(".idl")).sort()
      .map((name): readonly [string, Uint8Array] => [name, readFileSync(join(folder, name))])
  ).filter(isRpc)
)

/** Within the project, so that what the modules import is found. */
const withFolder = async (use: (path: string) => Promise<void>): Promise<void> => {
  mkdirSync(join(root, "node_modules"), { recursive: true })
  const path = mkdtempSync(join(here, "printed-"))
  try {
    await use(path)
  } finally {
    rmSync(path, { recursive: true })
  }
}

/** How often a value of each operation and direction is made. */
const times = budgetOf(200, 4)

const roundTrips = (iface: Interface.Interface.Any, model: Idl.InterfaceModel, document: Idl.Document): number => {
  let done = 0
  const below = random(seed)
  const { members } = valuesOf(document, below)
  for (const operation of model.operations) {
    for (const direction of ["in", "out"] as const) {
      const codec = Ndr.codecOf(iface.methods[operation.name]![direction])
      assert.isDefined(codec, `${operation.name}: ${direction}`)
      if (operation[direction].length === 0) continue
      for (let i = 0; i < times; i++) {
        const value = members(operation[direction])
        if (value === undefined) break
        const writer = Ndr.makeWriter()
        const what = `${operation.name}, ${direction}, seed ${seed}`
        const encoded: Result.Result<void, { readonly message: string }> = codec!.encode(writer, value as never)
        if (Result.isFailure(encoded)) assert.fail(`${what}: ${encoded.failure.message}`)
        const reader = Ndr.makeReader(writer.bytes.slice(0, writer.position))
        const decoded = codec!.decode(reader)
        if (Result.isFailure(decoded)) assert.fail(`${what}: ${decoded.failure.message}`)
        assert.strictEqual(reader.position, writer.position, what)
        assert.deepStrictEqual(decoded.success, value, what)
        done++
      }
    }
  }
  return done
}

describe(corpus === undefined ? "our own IDL files" : `IDL files in ${corpus}`, () => {
  for (const file of Object.keys(sources)) {
    it(`${file}: without an error, each operation reads back what it wrote`, () => {
      const { document, interfaces, problems } = Idl.describe(sources, file)
      assert.deepStrictEqual(problems.filter(({ severity }) => severity === "error"), [])
      let done = 0
      for (const model of document.interfaces) done += roundTrips(interfaces[model.name]!, model, document)
      report(`IDL of ${file}`, `${done} values`)
    })
  }

  it(
    "their modules: type-check strictly, load, and write what the described interfaces write",
    () =>
      withFolder(async (path) => {
        for (const file of Object.keys(sources)) {
          writeFileSync(join(path, file.replace(/idl$/, "ts")), Idl.print(Idl.parse(sources, file).document))
        }
        const config = join(path, "tsconfig.json")
        writeFileSync(config, JSON.stringify({ extends: "../../../tsconfig.json", include: ["*.ts"] }))
        // The compiler is a program for Node: each runtime starts it as its own.
        execFileSync(process.execPath, [
          ...(process.versions["deno"] === undefined ? [] : ["run", "-A"]),
          join(root, "node_modules/typescript/bin/tsc"),
          "-p",
          config
        ], { encoding: "utf8" })
        for (const file of Object.keys(sources)) {
          const { document, interfaces } = Idl.describe(sources, file)
          const module = await import(pathToFileURL(join(path, file.replace(/idl$/, "ts"))).href)
          for (const model of document.interfaces) {
            const printed = module[model.name] as Interface.Interface.Any
            const described = interfaces[model.name]!
            assert.strictEqual(printed.uuid, described.uuid)
            assert.deepStrictEqual(
              Object.entries(printed.operations).map(([name, { opnum }]) => [name, opnum]),
              Object.entries(described.operations).map(([name, { opnum }]) => [name, opnum])
            )
            roundTripsAlike(printed, described, model, document)
          }
        }
      }),
    120_000
  )
})

const roundTripsAlike = (
  printed: Interface.Interface.Any,
  described: Interface.Interface.Any,
  model: Idl.InterfaceModel,
  document: Idl.Document
): void => {
  const { members } = valuesOf(document, random(seed))
  for (const operation of model.operations) {
    for (const direction of ["in", "out"] as const) {
      const value = operation[direction].length === 0 ? undefined : members(operation[direction])
      if (value === undefined) continue
      const write = (iface: Interface.Interface.Any): Uint8Array => {
        const writer = Ndr.makeWriter()
        Ndr.codecOf(iface.methods[operation.name]![direction])!.encode(writer, value as never)
        return writer.bytes.slice(0, writer.position)
      }
      assert.deepStrictEqual(write(printed), write(described), `${operation.name}, ${direction}`)
    }
  }
}
