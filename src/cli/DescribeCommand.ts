/**
 * `callisto describe`: lists what a description holds, and shows one method with a sample of its input.
 */
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import type * as Stdio from "effect/Stdio"
import type * as Idl from "../idl/Idl.ts"
import { choose, isNamed, listed, misused, readDescription } from "./Descriptions.ts"
import type { Failure } from "./Failure.ts"
import { refuseNothing, report, withoutListed } from "./ImportCommand.ts"
import type { Answer } from "./Inquiries.ts"
import { harmless, type Paint, table } from "./Screen.ts"
import { Samples, showDefinition, showOperation, showType, typesOf, visible } from "./Signatures.ts"

/** What a person writes behind `callisto describe`. */
export interface DescribeOptions {
  readonly source: string
  readonly method: string | undefined
  readonly include: ReadonlyArray<string>
  readonly interface: string | undefined
  /** Whether the sample of the input alone is wanted. */
  readonly template: boolean
  /** Whether the names of the methods alone are wanted. */
  readonly names: boolean
}

/** What is in a description, for programs and for people. */
export const describe = (
  { include, interface: name, method, names, source, template }: DescribeOptions,
  json: boolean
): Effect.Effect<Answer, Failure | PlatformError, Stdio.Stdio> =>
  Effect.gen(function* () {
    if (template && method === undefined) {
      return yield* Effect.fail(
        misused("--template shows the input of one method.", "Name the method behind the file.")
      )
    }
    const description = yield* readDescription(source, include)
    const { document } = description
    if (!names) yield* report(withoutListed(description), json)
    yield* refuseNothing(source, document)
    if (method !== undefined) {
      const { model, operations } = yield* choose(source, document, [method], name)
      return describeMethod(document, model, operations[0]!, template)
    }
    const models = document.interfaces.filter((each) => name === undefined || isNamed(name)(each))
    if (name !== undefined && models.length === 0) {
      const all = listed(document.interfaces.map((each) => each.name), name) || "none"
      return yield* Effect.fail(
        misused(
          `${source}: no interface ${JSON.stringify(name)}, it has ${all}.`,
          `callisto describe ${source} lists all.`
        )
      )
    }
    if (names) {
      const all = models.flatMap(({ operations }) => operations.map((operation) => operation.name))
      return { json: { names: all }, text: () => all.join("\n") }
    }
    return describeAll(document, models)
  })

// ----------------------------------------------------------------------------
// all of it
// ----------------------------------------------------------------------------

const describeAll = (document: Idl.Document, models: ReadonlyArray<Idl.InterfaceModel>): Answer => ({
  json: {
    file: document.main,
    interfaces: models.map((model) => ({
      ...identityOf(model),
      unused: model.unused,
      operations: model.operations.map(operationToJson),
      leftOut: model.leftOut.map(({ name, opnum, place, reason }) => ({
        name,
        opnum: opnum ?? null,
        line: place.line,
        reason
      }))
    })),
    types: document.types.map((definition) => ({ kind: definition._tag.toLowerCase(), ...named(definition) })),
    objects: document.objects.map(({ methods, name, uuid }) => ({ name, uuid, methods: methods ?? null }))
  },
  text: (paint) => [...models.map((model) => showInterface(model, paint)), ...showObjects(document, paint)].join("\n\n")
})

const identityOf = ({ endpoints, idlName, uuid, version }: Idl.InterfaceModel) => ({
  name: idlName,
  uuid,
  version: version.join("."),
  endpoints
})

const named = (definition: Idl.Definition) => ({ name: definition.name, definition: showDefinition(definition) })

const operationToJson = (operation: Idl.Operation) => {
  const members = (all: ReadonlyArray<Idl.Member>) =>
    visible(all).map(({ name, note, type }) => ({ name, type: showType(type), note: note ?? null }))
  const pipes = (all: Idl.Operation["inPipe"]) =>
    all.map(({ element, name }) => ({ name, element: element === undefined ? "bytes" : showType(element) }))
  const { comment, idempotent, in: input, inPipe, maybe, name, opnum, out, outPipe, returns } = operation
  return {
    name,
    opnum,
    signature: showOperation(operation),
    in: members(input),
    out: members(out),
    inPipes: pipes(inPipe),
    outPipes: pipes(outPipe),
    returns: returns ?? null,
    idempotent,
    maybe,
    comment: comment ?? null
  }
}

const flagsOf = ({ idempotent, maybe }: Idl.Operation): string =>
  `${idempotent ? ", idempotent" : ""}${maybe ? ", maybe: without a reply" : ""}`.slice(2)

const heading = ({ comment, endpoints, idlName, uuid, version }: Idl.InterfaceModel, paint: Paint): string =>
  [
    `${paint.bold(`${harmless(idlName)} ${version.join(".")}`)}  ${uuid}`,
    ...endpoints.map((endpoint) => `endpoint ${harmless(endpoint)}`),
    ...(comment === undefined ? [] : comment.split("\n").map((line) => paint.dim(harmless(line.trim()))))
  ].join("\n")

const showInterface = (model: Idl.InterfaceModel, paint: Paint): string => {
  const rows = model.operations.map((operation) => {
    const flags = flagsOf(operation)
    return [String(operation.opnum), `${showOperation(operation)}${flags === "" ? "" : `  [${flags}]`}`]
  })
  const left = model.leftOut.map(({ name, opnum, place, reason }) =>
    `  ${harmless(name)}${opnum === undefined ? "" : ` (${opnum})`}, line ${place.line}: ${harmless(reason)}.`
  )
  return [
    heading(model, paint),
    ...(rows.length === 0 ? [] : [table([{ title: "OPNUM", align: "right" }, { title: "METHOD" }], rows, paint)]),
    ...(left.length === 0 ? [] : [paint.yellow("Left out:"), ...left])
  ].join("\n")
}

const showObjects = ({ objects }: Idl.Document, paint: Paint): ReadonlyArray<string> =>
  objects.length === 0 ? [] : [
    `Interfaces of objects, which are not called yet:\n${
      table([{ title: "INTERFACE" }, { title: "NAME" }], objects.map(({ name, uuid }) => [uuid, name]), paint)
    }`
  ]

// ----------------------------------------------------------------------------
// one method
// ----------------------------------------------------------------------------

const describeMethod = (
  document: Idl.Document,
  model: Idl.InterfaceModel,
  operation: Idl.Operation,
  template: boolean
): Answer => {
  const sample = new Samples(document).input(operation)
  if (template) return { json: sample as Answer["json"], text: () => JSON.stringify(sample, null, 2) }
  const types = typesOf(document, [operation])
  const { comment, in: input, name, opnum, out } = operation
  const notes = [...input.map((member) => ["in", member] as const), ...out.map((member) => ["out", member] as const)]
    .flatMap(([direction, { name, note }]) => note === undefined ? [] : [`${direction} ${name}: ${note}`])
  return {
    json: {
      interface: identityOf(model),
      operation: operationToJson(operation),
      types: types.map((definition) => ({ kind: definition._tag.toLowerCase(), ...named(definition) })),
      template: sample
    },
    text: (paint) =>
      [
        `${paint.bold(`${harmless(model.idlName)}.${harmless(name)}`)}, number ${opnum}`,
        ...(comment === undefined ? [] : comment.split("\n").map((line) => paint.dim(harmless(line.trim())))),
        harmless(showOperation(operation)),
        ...(flagsOf(operation) === "" ? [] : [flagsOf(operation)]),
        ...notes.map((note) => `  ${harmless(note)}`),
        ...(types.length === 0 ? [] : ["", ...types.map((definition) => harmless(showDefinition(definition)))]),
        "",
        "A sample of its input:",
        harmlessJson(JSON.stringify(sample, null, 2))
      ].join("\n")
  }
}

const harmlessJson = (text: string): string => text.split("\n").map(harmless).join("\n")
