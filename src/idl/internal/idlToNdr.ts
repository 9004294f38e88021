/**
 * Makes schemas and interfaces of the model, at run time.
 */
import * as Schema from "effect/Schema"
import * as ContextHandle from "../../ContextHandle.ts"
import * as Interface from "../../Interface.ts"
import { ndr20 } from "../../dcerpc/TransferSyntax.ts"
import * as Ndr from "../../ndr/Ndr.ts"
import * as Pipe from "../../Pipe.ts"
import type { Definition, InterfaceModel, Member, Operation, Type } from "./idlModel.ts"
import { referencesIn, typesIn, typesOf } from "./idlModel.ts"
import { clauseOf } from "../../internal/named.ts"

type Parameters = Interface.Parameters

/** Makes each definition once, when it is first needed. Nothing here calls itself from one definition to another. */
export class Builder {
  private readonly find: (name: string) => Definition | undefined
  private readonly made: Map<string, Parameters> = new Map()
  private readonly entered: Set<string> = new Set()
  private readonly handles: Map<string, ContextHandle.Type<string>> = new Map()
  private readonly methods: Map<Operation, Interface.Method.Any> = new Map()

  constructor(find: (name: string) => Definition | undefined) {
    this.find = find
  }

  /** The schema of a type. */
  type(type: Type): Parameters {
    switch (type._tag) {
      case "Constant":
        return Ndr[type.name]
      case "Bounded":
        return Ndr[type.name](type.count)
      case "Fixed":
        return Ndr.fixed(this.type(type.element), type.count)
      case "Varying":
        return Ndr.varying(this.type(type.element), type.count)
      case "Open":
        return Ndr[type.name](this.type(type.element))
      case "Pointer":
        return Ndr[type.kind](this.type(type.target))
      case "Range":
        return Ndr.range(this.type(type.type) as never, type.minimum, type.maximum)
      case "Box":
        return Ndr.struct({ value: this.type(type.type) })
      case "Reference":
        return this.reference(type.name)
      case "Handle":
        return type.nullable ? ContextHandle.nullable(this.handle(type.name)) : this.handle(type.name)
      case "Derived": {
        const of = type.type && this.type(type.type)
        if (type.what === "switch") return Ndr.switchIs(type.fields[0]!, of)
        const make = type.what === "size" ? Ndr.sizeIs : Ndr.lengthIs
        const fields = type.fields.length === 1 ? type.fields[0]! : type.fields
        return make(fields, of, type.unit === 1 ? undefined : { unit: type.unit })
      }
    }
  }

  /** A definition that is not made yet is found later: {@link make} takes them in order. */
  private reference(name: string): Parameters {
    return this.made.get(name) ?? Schema.suspend(() => this.made.get(name) as Schema.Codec<unknown>) as Parameters
  }

  /** Makes the definitions that types need, in the order in which a module lists them: needed ones first. */
  private make(types: ReadonlyArray<Type>): void {
    const stack = types.flatMap(referencesIn).reverse().map((name) => ({ name, isDone: false }))
    for (let entry = stack.pop(); entry !== undefined; entry = stack.pop()) {
      const { isDone, name } = entry
      if (this.made.has(name)) continue
      const definition = this.find(name)!
      if (isDone) {
        this.made.set(name, this.definition(definition))
        continue
      }
      if (this.entered.has(name)) continue
      this.entered.add(name)
      stack.push({ name, isDone: true })
      for (const type of typesIn(definition).toReversed()) {
        for (const inner of referencesIn(type)) stack.push({ name: inner, isDone: false })
      }
    }
  }

  private definition(definition: Definition): Parameters {
    switch (definition._tag) {
      case "Enum": {
        const numbers = Object.fromEntries(definition.members.map(({ name, value }) => [name, value]))
        return definition.size === 2 ? Ndr.enum16(numbers) : Ndr.enum32(numbers)
      }
      case "Struct":
        return Ndr.struct(this.members(definition.fields))
      case "Union": {
        const arm = (type: Type | undefined): Parameters => type === undefined ? Schema.Void : this.type(type)
        const rest = definition.arms.find(({ label }) => label === undefined)
        const labelled = definition.arms.flatMap(({ label, type }) => label === undefined ? [] : [[label, arm(type)]])
        return Ndr.union(this.type(definition.discriminant), Object.fromEntries(labelled), {
          ...(rest === undefined ? {} : { default: arm(rest.type) }),
          ...(definition.msUnion ? { msUnion: true } : {})
        })
      }
    }
  }

  private members(members: ReadonlyArray<Member>): { [name: string]: Parameters } {
    return Object.fromEntries(members.map(({ name, type }) => [name, this.type(type)]))
  }

  private handle(name: string): ContextHandle.Type<string> {
    const known = this.handles.get(name)
    if (known !== undefined) return known
    const made = ContextHandle.make(name)
    this.handles.set(name, made)
    return made
  }

  /** The method of an operation, made once. */
  method(operation: Operation): Interface.Method.Any {
    const known = this.methods.get(operation)
    if (known !== undefined) return known
    const method = this.makeMethod(operation)
    this.methods.set(operation, method)
    return method
  }

  private makeMethod(operation: Operation): Interface.Method.Any {
    this.make(typesOf(operation))
    const { idempotent, maybe, opnum } = operation
    const input = operation.in.length === 0 ? undefined : this.members(operation.in)
    const output = operation.out.length === 0 ? undefined : this.members(operation.out)
    const pipes = (elements: Operation["inPipe"]) =>
      Object.fromEntries(
        elements.map(({ element, name }) => [name, element === undefined ? Pipe.bytes : this.type(element)])
      )
    if (maybe) return Interface.method({ opnum, in: input, maybe, idempotent }) as Interface.Method.Any
    return Interface.method({
      opnum,
      in: input,
      out: output,
      idempotent,
      inPipe: pipes(operation.inPipe) as never,
      outPipe: pipes(operation.outPipe) as never
    }) as Interface.Method.Any
  }

  /** The interface, with all its operations. */
  interface(
    { name, operations, uuid, version }: Pick<InterfaceModel, "name" | "operations" | "uuid" | "version">
  ): Interface.Interface.Any {
    const methods = Object.fromEntries(operations.map((operation) => [operation.name, this.method(operation)]))
    return Interface.make(name, { uuid, version, methods })
  }

  /** Why an operation has no NDR form, or `undefined` if it has one. */
  problemOf(operation: Operation): string | undefined {
    return reasonOf(() => {
      if (ndr20.codec(this.method(operation), operation.name) === undefined) throw new TypeError("it has no NDR form")
    })
  }

  /** Why there can be no interface of this name, UUID and version, or `undefined` if there can. */
  refusalOfIdentity(identity: Pick<InterfaceModel, "name" | "uuid" | "version">): string | undefined {
    return reasonOf(() => this.interface({ ...identity, operations: [] }))
  }

  /** Why operations do not make an interface, or `undefined` if they do. */
  refusalOf(operations: ReadonlyArray<Operation>): string | undefined {
    return reasonOf(() => this.interface({ name: "checked", operations, uuid: nobody, version: [1, 0] }))
  }
}

/** Given, so that none is derived. */
const nobody = "c5a1f0a2-3d0e-4b7c-8f52-6a5a9d1e7b30"

const reasonOf = (make: () => unknown): string | undefined => {
  try {
    make()
    return undefined
  } catch (error) {
    if (error instanceof TypeError) return clauseOf(error.message)
    throw error
  }
}
