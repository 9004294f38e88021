/**
 * Interfaces and their operations: numbers, directions, what is left out and why.
 */
import { shortened } from "./idlLexer.ts"
import { Suggestions } from "./idlNearest.ts"
import { baseTypeNames } from "./idlParser.ts"
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
import { type Flat, inside, namer, Names, refuseForeign, type Resolved, Types } from "./idlTypes.ts"
import { Builder } from "./idlToNdr.ts"
import { slotsOfBase } from "./idlWellKnown.ts"

/** Gives the meaning of parsed files; the main file is the last one of `files`. */
export const toDocument = (
  files: ReadonlyArray<SyntaxFile>,
  builtIn: ReadonlyArray<SyntaxFile>,
  missing: ReadonlyArray<string>,
  main: string,
  isBuiltIn: (name: string) => boolean
): { readonly document: Document; readonly problems: ReadonlyArray<Problem> } => {
  const scope = new Scope()
  for (const [i, file] of files.toReversed().entries()) scope.add(file, i === 0)
  for (const file of builtIn) scope.add(file, false)
  scope.evaluateAll()
  const remote = scope.own.filter((own) => has(own.attributes, "uuid") && !isObject(own, scope))
  const uuids = new Set(remote.flatMap(({ attributes }) => parseUuid(attributeOf(attributes, "uuid")?.text) ?? []))
  const fallback = scope.own.map((own) => scope.surroundingsOf(own).pointerDefault).find((kind) => kind !== undefined)
  const types = new Types(scope, fallback, uuids)
  const builder = new Builder((name) => types.definitionOf(name))
  const problems: Array<Problem> = []

  const nameOf = interfaceNames(scope.own, types)
  const constants = constantsOf(scope, types)
  const interfaces: Array<InterfaceModel> = []
  const objects: Array<ObjectInterface> = []
  const slots = slotsIn(scope)
  const all = new Interfaces(types, builder)
  for (const own of scope.own) {
    if (!has(own.attributes, "uuid")) continue
    if (isObject(own, scope)) {
      const uuid = parseUuid(attributeOf(own.attributes, "uuid")?.text)
      if (uuid === undefined) all.lose(own, noUuid, problems)
      else objects.push(objectOf(own, nameOf(own), uuid, slots))
    } else if (!has(own.attributes, "local")) {
      const made = all.make(own, nameOf(own), problems)
      if (made !== undefined) interfaces.push(made)
    }
  }

  const needed = new Set(types.unknown.keys())
  types.checkTypedefs(main)
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
    main,
    constants,
    handles: [...types.handles.values()],
    types: types.ordered(wanted),
    skipped,
    lost: all.lost,
    interfaces,
    objects,
    classes: scope.classes.flatMap((declaration): ReadonlyArray<ClassModel> => {
      const text = attributeOf(declaration.attributes, "uuid")
      const uuid = parseUuid(text?.text)
      const kind = declaration._tag === "Library" ? "library" : declaration.kind
      if (text !== undefined && uuid === undefined) {
        const message = `${kind} ${declaration.name} is left out: ${noUuid}.`
        problems.push({ ...text.place, severity: "error", message })
      }
      return uuid === undefined ? [] : [{ kind, name: types.claim(declaration.name), uuid }]
    }),
    missing
  }
  const absent = missing.filter((name) => !isBuiltIn(name))
  const suggestions = new Suggestions()
  const known = [...baseTypeNames, ...types.typeNames()]
  problems.unshift(...[...types.unknown].map(([name, { isBody, place }]): Problem => {
    const meant = suggestions.nearest(isBody ? name.slice(name.indexOf(" ") + 1) : name, known)
    const file = absent.length === 0
      ? ""
      : absent.length === 1
      ? `, perhaps ${shortened(absent[0]!)}, which was not found`
      : ", perhaps one of those that were not found"
    return {
      ...place,
      severity: needed.has(name) ? "error" : "warning",
      message: `${isBody ? name : `type ${name}`}: ${isBody ? "it has no body" : "not known"}.${
        meant === undefined ? "" : ` Do you mean ${meant}?`
      } Correct it, or give the file that declares it${file}.`
    }
  }))
  problems.push(...types.warnings.values())
  for (const note of types.corrected) {
    problems.push({ file: main, line: 1, column: 1, severity: "warning", message: `Corrected: ${note}.` })
  }
  return { document, problems }
}

/** Whether an interface is one of objects: it says so, as old files do, or is derived from one. */
const isObject = ({ attributes, base }: InterfaceDeclaration, scope: Scope): boolean => {
  const says = (attributes: InterfaceDeclaration["attributes"]) =>
    ["object", "odl", "dual", "oleautomation"].some((name) => has(attributes, name))
  if (says(attributes)) return true
  for (let name = base, steps = 0; name !== undefined && steps < maximumBases; steps++) {
    const next = scope.interfaces.get(name)
    if (slotsOfBase.has(name) || next !== undefined && says(next.attributes)) return true
    name = next?.base
  }
  return false
}

/** The most interfaces that one is derived from. */
const maximumBases = 64

/** The most operations that the interfaces of a file have from others. */
const maximumInherited = 10_000

/** Two interfaces of one name get their versions. */
const interfaceNames = (
  own: ReadonlyArray<InterfaceDeclaration>,
  types: Types
): (declaration: InterfaceDeclaration) => string => {
  const names = new Map<InterfaceDeclaration, string>()
  const counts = new Map<string, number>()
  for (const { name } of own) counts.set(name, (counts.get(name) ?? 0) + 1)
  for (const declaration of own) {
    const isShared = counts.get(declaration.name)! > 1
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

const noUuid = "its uuid is no UUID, such as 4f2c8ea6-6a3d-4f0e-9d1e-6a4f0b1d2c3e"

const unusedName = /NotUsedOnWire|NotImplemented/

/** An operation, with what the interface that declares it says of it: a derived one may say otherwise. */
interface Declared {
  readonly operation: OperationDeclaration
  readonly surroundings: Surroundings
}

class Interfaces {
  private readonly types: Types
  private readonly builder: Builder
  private inherited = 0
  readonly lost: Array<Document["lost"][number]> = []

  constructor(types: Types, builder: Builder) {
    this.types = types
    this.builder = builder
  }

  /** `undefined` where the interface has no identity. */
  make(declaration: InterfaceDeclaration, name: string, problems: Array<Problem>): InterfaceModel | undefined {
    const { attributes, comment, place } = declaration
    const uuid = parseUuid(attributeOf(attributes, "uuid")?.text)
    const versionText = attributeOf(attributes, "version")?.text
    const version = parseVersion(versionText ?? "0.0")
    const refusal = uuid === undefined
      ? noUuid
      : version === undefined
      ? `its version is no number such as 1.0, got ${shortened(versionText!)}`
      : this.builder.refusalOfIdentity({ name: declaration.name, uuid, version })
    if (uuid === undefined || version === undefined || refusal !== undefined) {
      return this.lose(declaration, refusal!, problems)
    }
    const operations: Array<Operation> = []
    const leftOut: Array<LeftOut> = []
    const names = new Names(["__proto__"])
    let unused = 0
    let opnum = 0
    /** Behind it no number is known. */
    let unread: OperationDeclaration | undefined
    const leave = (
      { name, place }: Pick<Operation, "name" | "place">,
      opnum: number | undefined,
      reason: string
    ): void => {
      leftOut.push({ name, opnum, reason, place })
      problems.push({ ...place, severity: "error", message: `${name} is left out: ${reason}.` })
    }
    const all = this.operationsOf(declaration)
    // It stays, without operations.
    if (typeof all === "string") this.lose(declaration, all, problems)
    for (const { operation, surroundings } of typeof all === "string" ? [] : all) {
      if (has(operation.attributes, "local") || has(operation.attributes, "noopnum")) continue
      if (unread !== undefined) {
        leave(operation, undefined, `its number is not known, because line ${unread.place.line} could not be read`)
        continue
      }
      if (has(operation.attributes, "callback")) {
        leave(operation, undefined, "the server calls it on the client, which is not supported")
        continue
      }
      const number = opnum++
      if (operation.unread !== undefined) {
        leave(operation, number, "it could not be read")
        if (operation.unread === "several") unread = operation
        continue
      }
      if (unusedName.test(operation.name)) {
        unused++
        continue
      }
      try {
        const unique = names.claim(operation.name)
        const made = this.operation(operation, unique, number, surroundings)
        const problem = this.types.problemIn(typesOf(made)) ?? this.builder.problemOf(made)
        if (problem === undefined) operations.push(made)
        else leave(operation, number, problem)
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
      uuid,
      version,
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

  /** Tells that an interface is not in the document. */
  lose({ name, place }: InterfaceDeclaration, reason: string, problems: Array<Problem>): undefined {
    this.lost.push({ name, reason, place })
    problems.push({ ...place, severity: "error", message: `interface ${name} is left out: ${reason}.` })
  }

  /** Those of the base come first; or why there are none. */
  private operationsOf(declaration: InterfaceDeclaration): ReadonlyArray<Declared> | string {
    const { interfaces } = this.types.scope
    const chain = [this.declaredIn(declaration)]
    const seen = new Set([declaration])
    for (let { base } = declaration; base !== undefined;) {
      const next = interfaces.get(base)
      if (next === undefined || next.isForward) {
        return `its base ${base} is not known. Give the file that has it`
      }
      if (seen.has(next)) return "it is derived from itself. Correct its base"
      seen.add(next)
      const inherited = this.declaredIn(next)
      this.inherited += inherited.length
      if (seen.size > maximumBases || this.inherited > maximumInherited) {
        return `too many operations come from other interfaces, expected at most ${maximumInherited} in a file`
      }
      chain.push(inherited)
      base = next.base
    }
    return chain.reverse().flat()
  }

  private declaredIn(declaration: InterfaceDeclaration): ReadonlyArray<Declared> {
    const surroundings = this.types.scope.surroundingsOf(declaration)
    return operationsIn(declaration.declarations).map((operation) => ({ operation, surroundings }))
  }

  private operation(
    { attributes, comment, name: idlName, parameters, place, result }: OperationDeclaration,
    name: string,
    opnum: number,
    surroundings: Surroundings
  ): Operation {
    refuseForeign(attributes)
    const nameOf = namer("param")
    const sides = { in: [] as Array<Resolved>, out: [] as Array<Resolved> }
    const pipes = { in: [] as Array<Operation["inPipe"][number]>, out: [] as Array<Operation["outPipe"][number]> }
    this.types.checkNames(parameters)
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
    const returned = inside("its result", () => this.types.result(result, surroundings, attributes))
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

const objectOf = (
  declaration: InterfaceDeclaration,
  name: string,
  uuid: string,
  slots: (name: string) => number | undefined
): ObjectInterface => {
  const { base, comment, place } = declaration
  const first = base === undefined ? 0 : slots(base)
  const methods = methodsOf(declaration)
  return {
    name,
    uuid,
    base,
    methods: first === undefined || methods === undefined
      ? undefined
      : methods.flatMap((operation, i) =>
        operation.unread === undefined ? [{ name: accessorName(operation), opnum: first + i }] : []
      ),
    comment,
    place
  }
}

/** A method that is called in another's place takes its number. Without a value the numbers are not known. */
const methodsOf = ({ declarations }: InterfaceDeclaration): ReadonlyArray<OperationDeclaration> | undefined => {
  const operations = operationsIn(declarations)
  if (operations.some(({ unread }) => unread === "several")) return undefined
  const replacements = new Map<string, OperationDeclaration>()
  const names = new Set(operations.map(({ name }) => name))
  const replacing = new Set<OperationDeclaration>()
  for (const operation of operations) {
    const replaced = attributeOf(operation.attributes, "call_as")?.arguments[0]
    // Of a method that is not there it takes no number but its own.
    if (replaced?._tag !== "Name" || !names.has(replaced.name)) continue
    replacements.set(replaced.name, operation)
    replacing.add(operation)
  }
  return operations
    .filter((operation) => !replacing.has(operation))
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

/** How many methods an object of an interface has. */
const slotsIn = (scope: Scope): (name: string) => number | undefined => {
  const known = new Map<string, number | undefined>()
  const slots = (name: string, depth = 0): number | undefined => {
    if (known.has(name)) return known.get(name)
    const declaration = scope.interfaces.get(name)
    if (declaration === undefined || declaration.isForward || depth > maximumBases) return slotsOfBase.get(name)
    // An interface that is derived from itself has no numbers.
    known.set(name, undefined)
    const inherited = declaration.base === undefined ? 0 : slots(declaration.base, depth + 1)
    const own = methodsOf(declaration)?.length
    const count = inherited === undefined || own === undefined ? undefined : inherited + own
    known.set(name, count)
    return count
  }
  return slots
}
