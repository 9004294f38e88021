/**
 * Interfaces and their operations: numbers, directions, what is left out and why.
 */
import { formatVersion, parseUuid, parseVersion } from "./idlIdentity.ts"
import type {
  ClassModel,
  Constant,
  Document,
  InterfaceModel,
  LeftOut,
  Member,
  ObjectInterface,
  Operation,
  Type
} from "./idlModel.ts"
import { typesOf } from "./idlModel.ts"
import { attributeOf, has, operationsIn, Scope, type Surroundings, Unsupported, unsupported } from "./idlScope.ts"
import type { Field, InterfaceDeclaration, OperationDeclaration, Problem, SyntaxFile } from "./idlSyntax.ts"
import { type Flat, inside, namer, type Resolved, Types } from "./idlTypes.ts"
import { Builder } from "./idlToNdr.ts"
import { slotsOfBase } from "./idlWellKnown.ts"

/** Gives the meaning of parsed files; the main file is the last one of `files`. */
export const toDocument = (
  files: ReadonlyArray<SyntaxFile>,
  builtIn: ReadonlyArray<SyntaxFile>,
  missing: ReadonlyArray<string>
): { readonly document: Document; readonly problems: ReadonlyArray<Problem> } => {
  const scope = new Scope()
  for (const [i, file] of files.entries()) scope.add(file, i === files.length - 1)
  for (const file of builtIn) scope.add(file, false)
  const main = files[files.length - 1]!
  const remote = scope.own.filter(({ attributes }) => has(attributes, "uuid") && !has(attributes, "object"))
  const uuids = new Set(remote.flatMap(({ attributes }) => parseUuid(attributeOf(attributes, "uuid")?.text) ?? []))
  const fallback = scope.own.map((own) => scope.surroundingsOf(own).pointerDefault).find((kind) => kind !== undefined)
  const types = new Types(scope, fallback, uuids)
  const builder = new Builder((name) => types.definitionOf(name))
  const problems: Array<Problem> = []

  const nameOf = interfaceNames(scope.own, types)
  const constants = constantsOf(scope, types)
  const interfaces: Array<InterfaceModel> = []
  const objects: Array<ObjectInterface> = []
  for (const own of scope.own) {
    if (!has(own.attributes, "uuid")) continue
    if (has(own.attributes, "object")) objects.push(objectOf(own, nameOf(own), scope))
    else if (!has(own.attributes, "local")) {
      interfaces.push(new Interfaces(types, builder).make(own, nameOf(own), problems))
    }
  }

  const skipped: Array<Document["skipped"][number]> = []
  const wanted: Array<Type> = interfaces.flatMap(({ operations }) => operations.flatMap(typesOf))
  for (const body of scope.bodies.values()) {
    // Anonymous types stand where they are used.
    if (!body.isMain || body.name === undefined && body.specifier.tag === undefined) continue
    const { name, problem } = types.attempt(body)
    if (problem === undefined) wanted.push({ _tag: "Reference", name })
    else skipped.push({ name, reason: problem, place: body.specifier.place })
  }
  const document: Document = {
    main: main.name,
    constants,
    handles: [...types.handles.values()],
    types: types.ordered(wanted),
    skipped,
    interfaces,
    objects,
    classes: scope.classes.flatMap((declaration): ReadonlyArray<ClassModel> => {
      const uuid = parseUuid(attributeOf(declaration.attributes, "uuid")?.text)
      const kind = declaration._tag === "Library" ? "library" : declaration.kind
      return uuid === undefined ? [] : [{ kind, name: types.claim(declaration.name), uuid }]
    }),
    missing
  }
  for (const note of types.corrected) {
    problems.push({ file: main.name, line: 1, column: 1, severity: "warning", message: `Corrected: ${note}.` })
  }
  return { document, problems }
}

/** Two interfaces of one name get their versions. */
const interfaceNames = (
  own: ReadonlyArray<InterfaceDeclaration>,
  types: Types
): (declaration: InterfaceDeclaration) => string => {
  const names = new Map<InterfaceDeclaration, string>()
  for (const declaration of own) {
    const isShared = own.some((other) => other !== declaration && other.name === declaration.name)
    const version = parseVersion(attributeOf(declaration.attributes, "version")?.text) ?? [0, 0]
    names.set(
      declaration,
      types.claim(isShared ? `${declaration.name}_${formatVersion(version, "_")}` : declaration.name)
    )
  }
  return (declaration) => names.get(declaration)!
}

const constantsOf = (scope: Scope, types: Types): ReadonlyArray<Constant> => {
  const out: Array<Constant> = []
  for (const [name, { comment, isMain, isMember, value }] of scope.constants) {
    const found = isMain && !isMember ? value() : undefined
    if (found === undefined) continue
    const isSafe = typeof found !== "bigint" || BigInt.asIntN(53, found) === found || found === BigInt(Number(found))
    out.push({ name: types.claim(name), value: typeof found === "bigint" && isSafe ? Number(found) : found, comment })
  }
  return out
}

// ----------------------------------------------------------------------------
// interfaces of remote procedures
// ----------------------------------------------------------------------------

const unusedName = /NotUsedOnWire|NotImplemented/

class Interfaces {
  private readonly types: Types
  private readonly builder: Builder

  constructor(types: Types, builder: Builder) {
    this.types = types
    this.builder = builder
  }

  make(declaration: InterfaceDeclaration, name: string, problems: Array<Problem>): InterfaceModel {
    const { attributes, comment, place } = declaration
    const surroundings = this.types.scope.surroundingsOf(declaration)
    const operations: Array<Operation> = []
    const leftOut: Array<LeftOut> = []
    const taken = new Set<string>()
    let unused = 0
    let opnum = 0
    const leave = (
      { name, place }: Pick<Operation, "name" | "place">,
      opnum: number | undefined,
      reason: string
    ): void => {
      leftOut.push({ name, opnum, reason, place })
      problems.push({ ...place, severity: "error", message: `${name} is left out: ${reason}.` })
    }
    for (const operation of this.operationsOf(declaration)) {
      if (has(operation.attributes, "local") || has(operation.attributes, "noopnum")) continue
      if (has(operation.attributes, "callback")) {
        leave(operation, undefined, "the server calls it on the client, which is not supported")
        continue
      }
      const number = opnum++
      if (unusedName.test(operation.name)) {
        unused++
        continue
      }
      try {
        let unique = operation.name
        while (taken.has(unique) || unique === "__proto__") unique += "_"
        const made = this.operation(operation, unique, number, surroundings)
        const problem = this.types.problemIn(typesOf(made)) ?? this.builder.problemOf(made)
        if (problem === undefined) {
          taken.add(unique)
          operations.push(made)
        } else {
          leave(operation, number, problem)
        }
      } catch (error) {
        if (!(error instanceof Unsupported)) throw error
        leave(operation, number, error.reason)
      }
    }
    if (this.builder.refusalOf(operations) !== undefined) {
      for (const operation of operations.splice(0)) {
        const problem = this.builder.refusalOf([operation])
        if (problem === undefined) operations.push(operation)
        else leave(operation, operation.opnum, problem)
      }
    }
    return {
      name,
      idlName: declaration.name,
      uuid: parseUuid(attributeOf(attributes, "uuid")?.text) ?? "00000000-0000-0000-0000-000000000000",
      version: parseVersion(attributeOf(attributes, "version")?.text) ?? [0, 0],
      endpoints: (attributeOf(attributes, "endpoint")?.arguments ?? []).flatMap((endpoint) =>
        endpoint?._tag === "Text" ? [endpoint.value] : []
      ),
      operations,
      leftOut,
      unused,
      comment,
      place
    }
  }

  /** Those of the base come first. */
  private operationsOf(declaration: InterfaceDeclaration, depth = 0): ReadonlyArray<OperationDeclaration> {
    const base = declaration.base === undefined ? undefined : this.types.scope.interfaces.get(declaration.base)
    const inherited = base === undefined || base === declaration || depth > 16 ? [] : this.operationsOf(base, depth + 1)
    return [...inherited, ...operationsIn(declaration.declarations)]
  }

  private operation(
    { attributes, comment, name: idlName, parameters, place, result }: OperationDeclaration,
    name: string,
    opnum: number,
    surroundings: Surroundings
  ): Operation {
    const nameOf = namer("param")
    const sides = { in: [] as Array<Resolved>, out: [] as Array<Resolved> }
    const pipes = { in: [] as Array<Operation["inPipe"][number]>, out: [] as Array<Operation["outPipe"][number]> }
    this.types.hintTags(parameters, surroundings)
    for (const field of parameters) {
      const parameter = nameOf(field)
      inside(parameter, () => {
        const flat = this.types.flatten(field.specifier, field.levels, field.attributes, surroundings)
        if (flat.base._tag === "BindingHandle") return
        const directions = directionsOf(field)
        if (flat.base._tag === "Pipe") {
          const element = this.types.pipeElement(flat.base.element, flat.base.surroundings)
          for (const direction of directions) pipes[direction].push({ name: parameter, element })
          return
        }
        this.place(field, parameter, flat, idlName, directions, sides)
      })
    }
    const output = this.types.hideDerived(sides.out).map(nullableHandle)
    const returned = inside("its result", () => this.types.result(result, surroundings))
    if (returned !== undefined) {
      let unique = "result"
      while (output.some((member) => member.name === unique)) unique += "_"
      output.push(nullableHandle({ name: unique, type: returned, note: undefined }))
    }
    const maybe = has(attributes, "maybe")
    if (maybe && (output.length > 0 || pipes.in.length + pipes.out.length > 0)) {
      return unsupported("a [maybe] operation has no results and no pipes")
    }
    return {
      name,
      opnum,
      in: this.types.hideDerived(sides.in),
      out: output,
      inPipe: pipes.in,
      outPipe: pipes.out,
      returns: returned === undefined ? undefined : nameOfResult(result),
      idempotent: has(attributes, "idempotent"),
      maybe,
      comment,
      place
    }
  }

  private place(
    field: Field,
    name: string,
    flat: Flat,
    owner: string,
    directions: ReadonlyArray<"in" | "out">,
    sides: { readonly in: Array<Resolved>; readonly out: Array<Resolved> }
  ): void {
    const resolved = this.types.parameter(field, name, flat, owner)
    const isPassedBack = flat.levels.length > 0 || flat.base._tag === "Handle"
    if (directions.includes("out") && !isPassedBack) unsupported("an [out] parameter is a pointer or an array")
    for (const direction of directions) sides[direction].push(resolved)
  }
}

const nameOfResult = ({ levels, specifier }: OperationDeclaration["result"]): string | undefined =>
  levels.length === 0 && (specifier._tag === "Named" || specifier._tag === "Base") ? specifier.name : undefined

const directionsOf = ({ attributes }: Field): ReadonlyArray<"in" | "out"> => {
  const isOut = has(attributes, "out")
  return isOut && has(attributes, "in") ? ["in", "out"] : isOut ? ["out"] : ["in"]
}

/** A server gives a null handle where a call did not succeed. */
const nullableHandle = (member: Member): Member =>
  member.type._tag === "Handle" ? { ...member, type: { ...member.type, nullable: true } } : member

// ----------------------------------------------------------------------------
// interfaces of objects
// ----------------------------------------------------------------------------

const objectOf = (declaration: InterfaceDeclaration, name: string, scope: Scope): ObjectInterface => {
  const { attributes, base, comment, place } = declaration
  const first = base === undefined ? 0 : slots(base, scope)
  return {
    name,
    uuid: parseUuid(attributeOf(attributes, "uuid")?.text) ?? "00000000-0000-0000-0000-000000000000",
    base,
    methods: first === undefined
      ? undefined
      : methodsOf(declaration).map((operation, i) => ({ name: accessorName(operation), opnum: first + i })),
    comment,
    place
  }
}

/** A method that is called in another's place takes its number. */
const methodsOf = ({ declarations }: InterfaceDeclaration): ReadonlyArray<OperationDeclaration> => {
  const operations = operationsIn(declarations)
  const replacements = new Map<string, OperationDeclaration>()
  for (const operation of operations) {
    const replaced = attributeOf(operation.attributes, "call_as")?.arguments[0]
    if (replaced?._tag === "Name") replacements.set(replaced.name, operation)
  }
  return operations
    .filter(({ attributes }) => !has(attributes, "call_as"))
    .map((operation) => replacements.get(operation.name) ?? operation)
}

const accessorName = ({ attributes, name }: OperationDeclaration): string =>
  has(attributes, "propget")
    ? `get_${name}`
    : has(attributes, "propput")
    ? `put_${name}`
    : has(attributes, "propputref")
    ? `putref_${name}`
    : name

/** How many methods an object of that interface has. */
const slots = (name: string, scope: Scope, depth = 0): number | undefined => {
  const declaration = scope.interfaces.get(name)
  if (declaration === undefined || declaration.isForward || depth > 64) return slotsOfBase[name]
  const inherited = declaration.base === undefined ? 0 : slots(declaration.base, scope, depth + 1)
  return inherited === undefined ? undefined : inherited + methodsOf(declaration).length
}
