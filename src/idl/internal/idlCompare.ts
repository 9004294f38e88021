/**
 * Compares two descriptions by what travels: which changes break clients that know the old one.
 */
import { formatVersion } from "./idlIdentity.ts"
import type {
  ConstantName,
  Definition,
  Document,
  InterfaceModel,
  Member,
  Operation,
  Type,
  UnionArm
} from "./idlModel.ts"

/** A difference between two descriptions. */
export interface Change {
  /** Whether clients that know the old description fail, or are misunderstood, at a server of the new one. */
  readonly breaks: boolean
  /** The interface by its old name. */
  readonly interface: string
  /** The method by its old name; `undefined` for a change of the interface itself. */
  readonly method: string | undefined
  /** Where in the method, such as `in.item.Marks[].Place`; empty for the method itself. */
  readonly path: string
  /** What changed, in a sentence without its full stop. */
  readonly message: string
}

/** The changes from the old document to the new one, in the order of the old one. */
export const compare = (old: Document, now: Document): ReadonlyArray<Change> => {
  const changes: Array<Change> = []
  const found = new Set<InterfaceModel>()
  const comparison = new Comparison(old, now, changes)
  for (const each of old.interfaces) {
    const other = counterpartOf(each, now.interfaces.filter((candidate) => !found.has(candidate)), old.interfaces)
    if (other !== undefined) found.add(other)
    comparison.interface(each, other)
  }
  for (const { name, version } of now.interfaces.filter((each) => !found.has(each))) {
    const message = `the interface was added with version ${formatVersion(version)}`
    changes.push({ breaks: false, interface: name, method: undefined, path: "", message })
  }
  return changes
}

/** The same interface in other words: of its identity, else of its UUID, else of its name. */
const counterpartOf = (
  { idlName, uuid, version: [major] }: InterfaceModel,
  candidates: ReadonlyArray<InterfaceModel>,
  olds: ReadonlyArray<InterfaceModel>
): InterfaceModel | undefined => {
  const isMeant = (candidate: InterfaceModel): boolean =>
    !olds.some((other) => other.uuid === candidate.uuid && other.version[0] === candidate.version[0])
  return candidates.find((candidate) => candidate.uuid === uuid && candidate.version[0] === major) ??
    candidates.filter(isMeant).find((candidate) => candidate.uuid === uuid) ??
    candidates.filter(isMeant).find((candidate) => candidate.idlName === idlName)
}

/** The new server must take what an old client sends; the old client must understand what the new server answers. */
type Direction = "in" | "out"

interface Where {
  readonly direction: Direction
  readonly path: string
}

class Comparison {
  private readonly changes: Array<Change>
  private readonly olds: ReadonlyMap<string, Definition>
  private readonly news: ReadonlyMap<string, Definition>
  private readonly compared: Set<string> = new Set()
  private place: Pick<Change, "interface" | "method"> = { interface: "", method: undefined }

  constructor(old: Document, now: Document, changes: Array<Change>) {
    this.changes = changes
    this.olds = new Map(old.types.map((definition) => [definition.name, definition]))
    this.news = new Map(now.types.map((definition) => [definition.name, definition]))
  }

  private report(breaks: boolean, path: string, message: string): void {
    this.changes.push({ breaks, ...this.place, path, message })
  }

  // --------------------------------------------------------------------------
  // interfaces and methods
  // --------------------------------------------------------------------------

  interface(old: InterfaceModel, now: InterfaceModel | undefined): void {
    this.place = { interface: old.name, method: undefined }
    if (now === undefined) return this.report(true, "", "the interface was removed")
    if (old.idlName !== now.idlName) this.report(false, "", `the interface was renamed to ${now.idlName}`)
    if (old.uuid !== now.uuid) this.report(true, "", `its UUID was changed from ${old.uuid} to ${now.uuid}`)
    const [from, to] = [formatVersion(old.version), formatVersion(now.version)]
    if (from !== to) {
      const isLower = now.version[1] < old.version[1]
      const isOther = now.version[0] !== old.version[0]
      this.report(
        isOther || isLower,
        "",
        isOther || isLower
          ? `its version was changed from ${from} to ${to}: a server serves clients of its major version, and of no higher minor one`
          : `its minor version was raised from ${from} to ${to}`
      )
    }
    this.methods(old, now)
  }

  private methods(old: InterfaceModel, now: InterfaceModel): void {
    const slotsOf = ({ leftOut, operations }: InterfaceModel): ReadonlyMap<number, Slot> =>
      new Map<number, Slot>([
        ...operations.map((operation): [number, Slot] => [operation.opnum, { name: operation.name, operation }]),
        ...leftOut.flatMap(({ form, name, opnum, reason }): ReadonlyArray<[number, Slot]> =>
          opnum === undefined ? [] : [[opnum, { name, operation: undefined, form, reason }]]
        )
      ])
    const [olds, news] = [slotsOf(old), slotsOf(now)]
    const numberIn = (slots: ReadonlyMap<number, Slot>, name: string): number | undefined =>
      [...slots].find(([, slot]) => slot.name === name)?.[0]
    for (const [opnum, slot] of [...olds].sort(([a], [b]) => a - b)) {
      this.place = { interface: old.name, method: slot.name }
      const other = news.get(opnum)
      const moved = numberIn(news, slot.name)
      if (other?.name !== slot.name && moved !== undefined) {
        this.report(true, "", `its number was changed from ${opnum} to ${moved}`)
      } else if (other === undefined) {
        this.report(true, "", `the method was removed; it had the number ${opnum}`)
      } else if (other.name !== slot.name && numberIn(olds, other.name) !== undefined) {
        this.report(true, "", `the method was removed: ${other.name} has its number ${opnum}`)
      } else {
        if (other.name !== slot.name) this.report(false, "", `the method was renamed to ${other.name}`)
        this.slot(slot, other)
      }
    }
    this.place = { interface: old.name, method: undefined }
    for (const [opnum, { name }] of [...news].sort(([a], [b]) => a - b)) {
      if (olds.has(opnum) || numberIn(olds, name) !== undefined) continue
      const advice = formatVersion(old.version) === formatVersion(now.version)
        ? "; raise the minor version, so that servers without it refuse clients that need it"
        : ""
      this.place = { interface: old.name, method: name }
      this.report(false, "", `the method was added with the number ${opnum}${advice}`)
    }
  }

  private slot(old: Slot, now: Slot): void {
    if (old.operation !== undefined && now.operation !== undefined) return this.operation(old.operation, now.operation)
    if (old.form !== undefined && now.form !== undefined) {
      if (old.form !== now.form) this.report(true, "", `its form was changed from ${old.form} to ${now.form}`)
      return
    }
    if (old.form !== undefined || now.form !== undefined) {
      return this.report(
        true,
        "",
        `${old.form === undefined ? "it has" : "it had"} no NDR form: its transfer syntax was changed`
      )
    }
    const side = old.operation === undefined ? "old" : "new"
    this.report(
      false,
      "",
      `it was not compared, because the ${side} description leaves it out: ${(old.reason ?? now.reason)!}`
    )
  }

  private operation(old: Operation, now: Operation): void {
    if (old.maybe !== now.maybe) {
      this.report(true, "", old.maybe ? "it is not [maybe] any more" : "it became [maybe]: it gives no reply any more")
    }
    if (old.idempotent !== now.idempotent) {
      this.report(false, "", now.idempotent ? "it became [idempotent]" : "it is not [idempotent] any more")
    }
    this.parameters("in", old.in, now.in)
    this.parameters("out", old.out, now.out)
    this.pipes("in", old.inPipe, now.inPipe)
    this.pipes("out", old.outPipe, now.outPipe)
  }

  private parameters(direction: Direction, old: ReadonlyArray<Member>, now: ReadonlyArray<Member>): void {
    this.members(
      { direction, path: direction },
      old.map((member) => ({ ...member, type: withoutReference(member.type) })),
      now.map((member) => ({ ...member, type: withoutReference(member.type) })),
      "parameter"
    )
  }

  private pipes(direction: Direction, old: Operation["inPipe"], now: Operation["inPipe"]): void {
    const toMember = ({ element, name }: Operation["inPipe"][number]): Member => ({
      name,
      type: element ?? byte,
      note: undefined
    })
    this.members({ direction, path: `${direction} pipe` }, old.map(toMember), now.map(toMember), "pipe")
  }

  // --------------------------------------------------------------------------
  // parameters and fields
  // --------------------------------------------------------------------------

  private members(
    { direction, path }: Where,
    old: ReadonlyArray<Member>,
    now: ReadonlyArray<Member>,
    what: "parameter" | "field" | "pipe"
  ): void {
    const names = (members: ReadonlyArray<Member>): ReadonlyArray<string> => members.map(({ name }) => name)
    const [before, after] = [names(old), names(now)]
    if (before.length !== after.length) {
      const removed = before.filter((name) => !after.includes(name))
      const added = after.filter((name) => !before.includes(name))
      for (const name of removed) this.report(true, `${path}.${name}`, `the ${what} was removed`)
      for (const name of added) this.report(true, `${path}.${name}`, `the ${what} was added`)
      if (removed.length + added.length === 0) {
        this.report(true, path, `it has ${after.length} ${what}s in place of ${before.length}`)
      }
      return
    }
    const isReordered = before.some((name, i) => name !== after[i] && after.includes(name))
    if (isReordered && old.some(({ type }, i) => this.shape(type, this.olds) !== this.shape(now[i]!.type, this.news))) {
      return this.report(true, path, `the ${what}s were reordered from ${before.join(", ")} to ${after.join(", ")}`)
    }
    if (isReordered) {
      this.report(
        true,
        path,
        `the ${what}s were reordered from ${before.join(", ")} to ${after.join(", ")}: values are mistaken`
      )
    }
    for (const [i, { name, type }] of old.entries()) {
      const other = now[i]!
      const at = { direction, path: `${path}.${name}` }
      if (!isReordered && other.name !== name) this.report(false, at.path, `the ${what} was renamed to ${other.name}`)
      this.derivations(at, type, other.type, before, after)
      this.type(at, plain(type), plain(other.type))
    }
  }

  /** What a count counts is a matter of the values; its bytes are a number either way. */
  private derivations(
    at: Where,
    old: Type,
    now: Type,
    before: ReadonlyArray<string>,
    after: ReadonlyArray<string>
  ): void {
    if (old._tag !== "Derived" || now._tag !== "Derived") return
    const numbers = (fields: ReadonlyArray<string>, names: ReadonlyArray<string>): string =>
      fields.map((field) => names.indexOf(field)).sort().join()
    if (old.what !== now.what || old.unit !== now.unit || numbers(old.fields, before) !== numbers(now.fields, after)) {
      this.report(true, at.path, `it was ${derivation(old)} and is ${derivation(now)}`)
    }
  }

  // --------------------------------------------------------------------------
  // types
  // --------------------------------------------------------------------------

  private type(at: Where, oldType: Type, nowType: Type): void {
    const [old, now] = [canonical(oldType), canonical(nowType)]
    if (old._tag === "Range" || now._tag === "Range") return this.ranges(at, old, now)
    if (old._tag === "Reference" || now._tag === "Reference") return this.definitions(at, old, now)
    if (old._tag !== now._tag) return this.changed(at, oldType, nowType)
    switch (old._tag) {
      case "Constant":
        if (old.name !== (now as typeof old).name) this.changed(at, oldType, nowType)
        return
      case "Fixed":
        if (old.count !== (now as typeof old).count) {
          this.report(
            true,
            at.path,
            `its number of elements was changed from ${old.count} to ${(now as typeof old).count}`
          )
        }
        return this.type(within(at), old.element, (now as typeof old).element)
      case "Varying":
        this.bounds(at, "elements", [0, old.count], [0, (now as typeof old).count])
        return this.type(within(at), old.element, (now as typeof old).element)
      case "Bounded":
        if (old.name !== (now as typeof old).name) return this.changed(at, oldType, nowType)
        return this.bounds(at, "characters with the NUL", [0, old.count], [0, (now as typeof old).count])
      case "Open":
        if (old.name !== (now as typeof old).name) return this.changed(at, oldType, nowType)
        return this.type(within(at), old.element, (now as typeof old).element)
      case "Pointer":
        if (old.kind !== (now as typeof old).kind) {
          this.report(
            true,
            at.path,
            `its pointer was changed from [${kinds[old.kind]}] to [${kinds[(now as typeof old).kind]}]`
          )
        }
        return this.type(at, old.target, (now as typeof old).target)
      case "Box":
        return this.type(at, old.type, (now as typeof old).type)
      case "Handle":
        if (old.name !== (now as typeof old).name) {
          this.report(false, at.path, `its handle was renamed from ${old.name} to ${(now as typeof old).name}`)
        }
        if (at.direction === "in" && old.nullable && !(now as typeof old).nullable) {
          this.report(true, at.path, "the null handle is refused now")
        }
        return
    }
  }

  private changed(at: Where, old: Type, now: Type): void {
    this.report(
      true,
      at.path,
      `its type was changed from ${this.named(old, this.olds)} to ${this.named(now, this.news)}`
    )
  }

  private ranges(at: Where, old: Type, now: Type): void {
    const [inner, other] = [unranged(old), unranged(now)]
    const limits = (type: Type): Limits | undefined => type._tag === "Range" ? [type.minimum, type.maximum] : undefined
    this.bounds(at, undefined, limits(old), limits(now))
    this.type(at, inner, other)
  }

  /** Tells of what an old client sends that is refused now, and of what it may get that it refuses. */
  private bounds(
    { direction, path }: Where,
    unit: string | undefined,
    old: Limits | undefined,
    now: Limits | undefined
  ): void {
    if (old?.[0] === now?.[0] && old?.[1] === now?.[1]) return
    const show = (limits: Limits | undefined): string =>
      limits === undefined
        ? "any"
        : unit === undefined
        ? `${limits[0]} to ${limits[1]}`
        : `at most ${limits[1]} ${unit}`
    const holds = (outer: Limits | undefined, inner: Limits | undefined): boolean =>
      outer === undefined || inner !== undefined && outer[0] <= inner[0] && outer[1] >= inner[1]
    const [isWider, isNarrower] = [holds(now, old), holds(old, now)]
    const what = `its range was ${isWider ? "widened" : isNarrower ? "narrowed" : "changed"} from ${show(old)} to ${
      show(now)
    }`
    if (direction === "in") return this.report(!isWider, path, what)
    this.report(
      false,
      path,
      isNarrower ? what : `${what}; do not send more than ${show(old)} to old clients, which refuse it`
    )
  }

  // --------------------------------------------------------------------------
  // definitions
  // --------------------------------------------------------------------------

  private definitions(at: Where, oldType: Type, nowType: Type): void {
    const [old, now] = [defined(oldType, this.olds), defined(nowType, this.news)]
    const key = `${at.direction} ${this.named(oldType, this.olds)} ${this.named(nowType, this.news)}`
    // What differs within a type is told where it stands first.
    if (old !== undefined && now !== undefined && this.compared.has(key)) return
    this.compared.add(key)
    if (old?._tag === "Enum" || now?._tag === "Enum") return this.enums(at, oldType, nowType, old, now)
    if (old?._tag === "Struct" && now?._tag === "Struct") return this.members(at, old.fields, now.fields, "field")
    if (old?._tag === "Union" && now?._tag === "Union") return this.unions(at, old, now)
    const isBox = (type: Type, other: Definition | undefined): boolean =>
      type._tag === "Box" && other?._tag === "Struct" && other.fields.length === 1
    if (isBox(oldType, now)) {
      return this.type(at, (oldType as { readonly type: Type }).type, (now as Struct).fields[0]!.type)
    }
    if (isBox(nowType, old)) {
      return this.type(at, (old as Struct).fields[0]!.type, (nowType as { readonly type: Type }).type)
    }
    this.changed(at, oldType, nowType)
  }

  private enums(
    at: Where,
    oldType: Type,
    nowType: Type,
    old: Definition | undefined,
    now: Definition | undefined
  ): void {
    if (old?._tag !== "Enum" || now?._tag !== "Enum") {
      const size = old?._tag === "Enum" ? old.size : (now as Enum).size
      const number = old?._tag === "Enum" ? nowType : oldType
      const isSame = number._tag === "Constant" &&
        (size === 2 ? ["Uint16"] : ["Uint32", "Int32"]).includes(number.name)
      if (!isSame) return this.changed(at, oldType, nowType)
      const change = `its type was changed from ${this.named(oldType, this.olds)} to ${this.named(nowType, this.news)}`
      return this.report(false, at.path, `${change}, of the same bytes`)
    }
    if (old.size !== now.size) {
      this.report(true, at.path, `${old.name} was changed from ${old.size} to ${now.size} bytes`)
    }
    const numbers = (definition: Enum): ReadonlyMap<string, number> =>
      new Map(definition.members.map(({ name, value }) => [name, value]))
    const [before, after] = [numbers(old), numbers(now)]
    for (const [name, value] of before) {
      const renumbered = after.get(name)
      if (renumbered !== undefined && renumbered !== value) {
        this.report(true, at.path, `${name} of ${old.name} was renumbered from ${value} to ${renumbered}`)
      } else if (renumbered === undefined) {
        const other = [...after].find(([name, number]) => number === value && !before.has(name))
        if (other === undefined) this.report(true, at.path, `${name} of ${old.name} was removed; it was ${value}`)
        else this.report(false, at.path, `${name} of ${old.name} was renamed to ${other[0]}`)
      }
    }
    for (const [name, value] of after) {
      if (before.has(name) || [...before].some(([name, number]) => number === value && !after.has(name))) continue
      const caution = at.direction === "out" ? "; old clients read it as a number" : ""
      this.report(false, at.path, `${name} was added to ${old.name} as ${value}${caution}`)
    }
  }

  private unions(at: Where, old: Union, now: Union): void {
    this.type({ ...at, path: `${at.path}.case` }, old.discriminant, now.discriminant)
    if (old.msUnion !== now.msUnion) {
      this.report(true, at.path, now.msUnion ? "it became [ms_union]" : "it is not [ms_union] any more")
    }
    const [before, after] = [this.arms(old, this.olds), this.arms(now, this.news)]
    for (const [label, { arm, name }] of before) {
      const other = after.get(label) ?? after.get(rest)
      if (other === undefined) this.report(true, at.path, `its ${name} was removed`)
      else this.arm(at, name, arm, other.arm)
    }
    for (const [label, { arm, name }] of after) {
      if (before.has(label)) continue
      const covered = before.get(rest)
      if (covered !== undefined) {
        this.arm(at, name, covered.arm, arm)
      } else {
        const caution = at.direction === "out" ? "; old clients refuse it" : ""
        this.report(false, at.path, `its ${name} was added${caution}`)
      }
    }
  }

  private arm(at: Where, name: string, old: UnionArm, now: UnionArm): void {
    if (old.type !== undefined && now.type !== undefined) {
      return this.type({ ...at, path: `${at.path}.${String(old.label ?? "default")}` }, old.type, now.type)
    }
    if (old.type !== now.type) {
      this.report(true, at.path, `its ${name} ${now.type === undefined ? "became empty" : "is not empty any more"}`)
    }
  }

  /** The arms by the number that travels. */
  private arms(
    { arms, discriminant }: Union,
    definitions: ReadonlyMap<string, Definition>
  ): Arms {
    const definition = defined(unranged(discriminant), definitions)
    const members = definition?._tag === "Enum" ? definition.members : []
    return new Map(arms.map((arm): [number | typeof rest, { arm: UnionArm; name: string }] => {
      if (arm.label === undefined) return [rest, { arm, name: "default arm" }]
      const number = members.find(({ name }) => name === arm.label)?.value ?? Number(arm.label)
      return [number, { arm, name: `arm ${arm.label}` }]
    }))
  }

  // --------------------------------------------------------------------------
  // names
  // --------------------------------------------------------------------------

  private named(type: Type, definitions: ReadonlyMap<string, Definition>): string {
    switch (type._tag) {
      case "Constant":
        return type.name
      case "Bounded":
        return `${type.name}(${type.count})`
      case "Fixed":
        return `${this.named(type.element, definitions)}[${type.count}]`
      case "Varying":
        return `varying ${this.named(type.element, definitions)}[${type.count}]`
      case "Open":
        return `${type.name} ${this.named(type.element, definitions)}[]`
      case "Pointer":
        return `[${kinds[type.kind]}] ${this.named(type.target, definitions)}`
      case "Range":
      case "Box":
        return this.named(type.type, definitions)
      case "Reference": {
        const definition = definitions.get(type.name)
        return `${definition?._tag.toLowerCase() ?? ""} ${type.name}`.trim()
      }
      case "Handle":
        return `handle ${type.name}`
      case "Derived":
        return type.type === undefined ? "Uint32" : this.named(type.type, definitions)
    }
  }

  /** Types that look the same at a glance: enough to tell a new order from new names. */
  private shape(type: Type, definitions: ReadonlyMap<string, Definition>): string {
    return this.named(canonical(plain(type)), definitions)
  }
}

interface Slot {
  readonly name: string
  readonly operation: Operation | undefined
  readonly form?: string | undefined
  readonly reason?: string | undefined
}

type Arms = ReadonlyMap<number | typeof rest, { readonly arm: UnionArm; readonly name: string }>
type Limits = readonly [minimum: number, maximum: number]
type Enum = Extract<Definition, { readonly _tag: "Enum" }>
type Struct = Extract<Definition, { readonly _tag: "Struct" }>
type Union = Extract<Definition, { readonly _tag: "Union" }>

const rest = "default"

const kinds = { ref: "ref", unique: "unique", full: "ptr" } as const

const byte: Type = { _tag: "Constant", name: "Uint8" }
const unit: Type = { _tag: "Constant", name: "Uint16" }
const count: Type = { _tag: "Constant", name: "Uint32" }

const within = ({ direction, path }: Where): Where => ({ direction, path: `${path}[]` })

/** A reference pointer of a parameter leaves no trace. */
const withoutReference = (type: Type): Type =>
  type._tag === "Pointer" && type.kind === "ref" ? withoutReference(type.target) : type

/** The number that travels for a derived field. The discriminant of a union is compared with the union. */
const plain = (type: Type): Type => type._tag === "Derived" ? type.type ?? count : type

const unranged = (type: Type): Type => type._tag === "Range" ? type.type : type

const defined = (type: Type, definitions: ReadonlyMap<string, Definition>): Definition | undefined =>
  type._tag === "Reference" ? definitions.get(type.name) : undefined

const derivation = ({ fields, unit, what }: Extract<Type, { readonly _tag: "Derived" }>): string =>
  `the ${what === "switch" ? "case" : what} of ${fields.join(" and ")}${unit === 1 ? "" : ` times ${unit}`}`

const open = (name: "conformant" | "conformantVarying", element: Type): Type => ({ _tag: "Open", name, element })

/** Types that differ in their values alone become one. */
const canonical = (type: Type): Type => {
  switch (type._tag) {
    case "Constant":
      return constants[type.name] ?? type
    case "Bounded":
      switch (type.name) {
        case "fixedBytes":
          return { _tag: "Fixed", element: byte, count: type.count }
        case "varyingBytes":
          return { _tag: "Varying", element: byte, count: type.count }
        case "fixedWChars":
          return { _tag: "Fixed", element: unit, count: type.count }
        case "varyingWChars":
          return { _tag: "Varying", element: unit, count: type.count }
        default:
          return type
      }
    case "Open":
      return type.name === "sizedVarying" ? { ...type, name: "conformantVarying" } : type
    default:
      return type
  }
}

const constants: { readonly [Name in ConstantName]?: Type } = {
  Char: byte,
  WChar: unit,
  SizedWString: { _tag: "Constant", name: "WString" },
  SizedString: { _tag: "Constant", name: "String" },
  Bytes: open("conformant", byte),
  VaryingBytes: open("conformantVarying", byte),
  SizedVaryingBytes: open("conformantVarying", byte),
  WChars: open("conformant", unit),
  VaryingWChars: open("conformantVarying", unit),
  SizedVaryingWChars: open("conformantVarying", unit)
}
