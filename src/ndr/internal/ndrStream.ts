/**
 * The two ends of a stub while a value is written or read: positions, alignment, and what pointers and correlated fields
 * leave to be done later.
 */

// ----------------------------------------------------------------------------
// refusals
// ----------------------------------------------------------------------------

/** The Win32 codes under which a value or a stub is refused. */
export const status = {
  nullReference: 1780,
  enumRange: 1781,
  badStubData: 1783,
  invalidTag: 1733,
  invalidBound: 1734
} as const

/** The numbers of {@link status}. */
export type Status = (typeof status)[keyof typeof status]

/** Thrown inside the codec, and caught where it was entered. It collects the path on its way out, innermost first. */
export class Refusal {
  readonly path: Array<string | number> = []
  readonly status: Status
  readonly problem: string
  constructor(status: Status, problem: string) {
    this.status = status
    this.problem = problem
  }
}

/** Thrown where the stub ends before the value does: with more of it the value may be read. */
export class Truncated extends Refusal {
  /** How many bytes the stub has at least. */
  readonly needed: number

  constructor(needed: number) {
    super(status.badStubData, "the stub ends before the value does")
    this.needed = needed
  }
}

/** Adds a step to the path of a refusal; anything else passes as it is. */
export const within = (error: unknown, key: string | number): unknown => {
  if (error instanceof Refusal) error.path.push(key)
  return error
}

/** Where a pointer stands in the message that is being written or read, innermost first. */
export interface Path {
  readonly key: string | number
  readonly parent: Path | undefined
}

/** Adds the path of a pointer to a refusal of what it points to. */
export const behind = (error: unknown, path: Path | undefined): unknown => {
  for (let at = path; at !== undefined; at = at.parent) within(error, at.key)
  return error
}

/** From this depth on the encoder looks for values that contain themselves. */
const watchedDepth = 256

/** How many values one stub may hold unless its reader says otherwise. */
export const defaultElements = 0x40000

// ----------------------------------------------------------------------------
// nodes
// ----------------------------------------------------------------------------

/** A type, compiled. A node that is still being compiled is reached through pointers alone. */
export interface Node {
  ready: boolean
  /** What its types do to the values, and those that it is made of. */
  makeup: Makeup
  align: number
  /** The least number of bytes that a value takes where it stands, without what its pointers point to. */
  minimum: number
  /** How many bytes a value takes from where it is aligned, or how to find out; of pipes' elements alone. */
  extent: number | ((cursor: Cursor) => Generator<undefined, void>)
  /** How many values it counts as where it stands: a pointer is one, an array that travels with a count too. */
  values: number
  /** Whether a value holds pointers, so that something follows the construct that contains it. */
  pointers: boolean
  /** For a pointer. */
  pointer: Pointer | undefined
  /** For what may be null: how it travels behind a pointer, for which null would stand as well. */
  nested: Node | undefined
  /** For what is aligned otherwise as the element of an array. */
  inArray: Node | undefined
  /** For what ends in a conformant array: the count that is written in front of the outermost construct. */
  maxCount: ((value: unknown) => number) | undefined
  /** For an array or a string: the counts that it has on the wire, which fields may say too. */
  counts: { readonly size: Count | undefined; readonly length: Count | undefined } | undefined
  /** For a union: its discriminant. */
  discriminant: ((value: unknown) => number) | undefined
  /** For an integer or an enumeration: the bare number. */
  integer: Integer | undefined
  write: (to: Encoder, value: any) => void
  read: (from: Decoder) => unknown
  /** Reads, in place of `read`, a value that is stored when what it points to has been read, which may be later. */
  readInto: ((from: Decoder, target: any, key: string | number, link: Link | undefined) => void) | undefined
}

/** What a node and all that it is made of do to the values of a schema. */
export interface Makeup {
  /** Whether the schema transforms values or checks them. */
  transforms: boolean
  /** Whether full pointers share objects. */
  shares: boolean
  readonly parts: Array<Makeup>
}

export const makeMakeup = (): Makeup => ({ transforms: false, shares: false, parts: [] })

/** A pointer. */
export interface Pointer {
  /** Whether it may be null. */
  readonly optional: boolean
  /** Its target, once that is compiled. */
  target: Node | undefined
  /** Reads it, and leaves its target for later. Of a null pointer it does nothing, and gives `false`. */
  readonly read: (
    from: Decoder,
    target: any,
    key: string | number,
    link: Link | undefined,
    nested: boolean
  ) => boolean
}

const unready = (): never => {
  throw new TypeError("it contains itself without a pointer between")
}

export const makeNode = (): Node => ({
  ready: false,
  makeup: makeMakeup(),
  align: 1,
  minimum: 0,
  extent: 0,
  values: 1,
  pointers: false,
  pointer: undefined,
  nested: undefined,
  inArray: undefined,
  maxCount: undefined,
  counts: undefined,
  discriminant: undefined,
  integer: undefined,
  write: unready,
  read: unready,
  readInto: undefined
})

/** A node that may be a part of others by now. */
export const complete = (node: Node): Node => node.ready ? node : unready()

/** Finds the end of a value without reading it, and goes on with more bytes where it stopped. */
export interface Cursor {
  /** The bytes as far as they are there; replaced when there are more. */
  from: Decoder
  /** Where the value begins in them. */
  start: number
  /** How far it was measured, from its start. */
  position: number
}

/** A count of a value's elements; none of what is null. */
export type Count = (value: unknown) => number | null

/** A number of at most 32 bits that can be a count or a discriminant, and the values that stand for such numbers. */
export interface Integer {
  readonly write: (to: Encoder, value: number) => void
  readonly read: (from: Decoder) => number
  readonly numberOf: (value: unknown) => number
  readonly valueOf: (number: number) => string | number
  /** The number under which a union may have an arm. */
  readonly labelOf: (label: string | number) => number | undefined
}

/** What correlated fields and the array or union that they describe said so far. The two must agree. */
export interface Link {
  // Null where the pointer to the count is null, not a number where two fields differ.
  size: number | null | undefined
  length: number | null | undefined
  switch: number | null | undefined
  maxCount: number | undefined
  actualCount: number | undefined
  discriminant: number | undefined
}

export const makeLink = (): Link => ({
  size: undefined,
  length: undefined,
  switch: undefined,
  maxCount: undefined,
  actualCount: undefined,
  discriminant: undefined
})

/** Where a value is stored by being handed on. */
export const receiver = (key: string | number, receive: (value: unknown) => void): object =>
  Object.defineProperty({}, key, { set: receive })

/** Refuses where both sides of a correlation are known and differ. */
export const verify = (link: Link): void => {
  agree(status.invalidBound, "size", link.size, link.maxCount)
  agree(status.invalidBound, "length", link.length, link.actualCount)
  agree(status.invalidTag, "discriminant", link.switch, link.discriminant)
}

/** Notes what an array or a union that was read says of itself. */
const noteCounts = (link: Link, { actualCount, discriminant, maxCount }: Counts): void => {
  link.maxCount = maxCount
  link.actualCount = actualCount
  link.discriminant = discriminant
  verify(link)
}

const agree = (code: Status, what: string, said: number | null | undefined, is: number | undefined): void => {
  if (said === undefined || is === undefined || said === is) return
  const says = said === null
    ? "the field that says it is behind a null pointer"
    : Number.isNaN(said)
    ? "the fields that say it differ"
    : `the field that says it has ${said}`
  throw new Refusal(code, `the ${what} is ${is}, and ${says}`)
}

// ----------------------------------------------------------------------------
// writing
// ----------------------------------------------------------------------------

/** Where the encoder writes. `Ndr.Writer` documents it. */
export interface Output {
  readonly bytes: Uint8Array
  readonly view: DataView
  position: number
  readonly stub: number
  readonly littleEndian: boolean
  ensure(size: number): void
}

interface PendingWrite {
  readonly node: Node
  readonly value: unknown
  readonly path: Path | undefined
  readonly depth: number
  readonly watched: unknown
}

/** Moves all entries to a stack, the first on top. */
const moveReversed = <A>(entries: Array<A>, stack: Array<A>): void => {
  while (entries.length > 0) stack.push(entries.pop()!)
}

/** Writes one stub. It keeps the output's position to itself until `finish`. */
export class Encoder {
  bytes: Uint8Array
  view: DataView
  position: number
  stub: number
  readonly littleEndian: boolean
  path: Path | undefined = undefined
  /** How many pointers lead to what is written, and a value on the way that must not come again. */
  private depth = 0
  private watched: unknown = undefined
  /** Most stubs have no pointers, and no array for them. */
  private pending: Array<PendingWrite> | undefined = undefined
  private nextId = 0x20000
  private shared: Map<unknown, Array<{ readonly node: Node; readonly id: number }>> | undefined = undefined
  private readonly output: Output

  constructor(output: Output) {
    this.output = output
    this.bytes = output.bytes
    this.view = output.view
    this.position = output.position
    this.stub = output.stub
    this.littleEndian = output.littleEndian
  }

  /** Makes room for `size` more bytes. */
  reserve(size: number): void {
    if (this.position + size <= this.bytes.length) return
    this.output.position = this.position
    this.output.ensure(size)
    this.bytes = this.output.bytes
    this.view = this.output.view
    this.position = this.output.position
    this.stub = this.output.stub
  }

  /** Fills up with zeros to a multiple of `size` from the start of the stub. */
  align(size: number): void {
    const padding = (this.stub - this.position) & (size - 1)
    if (padding === 0) return
    this.reserve(padding)
    this.bytes.fill(0, this.position, this.position + padding)
    this.position += padding
  }

  /** The position of the next `size` bytes, aligned to `size`. */
  slot(size: number): number {
    if (((this.stub - this.position) & (size - 1)) !== 0) this.align(size)
    if (this.position + size > this.bytes.length) this.reserve(size)
    const at = this.position
    this.position = at + size
    return at
  }

  uint32(value: number): void {
    const at = this.slot(4)
    this.view.setUint32(at, value, this.littleEndian)
  }

  /** Writes a referent id of its own, and what it points to after the outermost construct. */
  refer(node: Node, value: unknown): void {
    this.uint32(this.newId())
    const { depth, path, watched } = this
    ;(this.pending ??= []).push({ node, value, path, depth: depth + 1, watched })
  }

  /** The same for a full pointer: an object that was pointed to before is not written again. */
  share(node: Node, isSame: IsSame, value: unknown): void {
    if (typeof value !== "object") return this.refer(node, value)
    this.shared ??= new Map()
    let written = this.shared.get(value)
    if (written === undefined) this.shared.set(value, written = [])
    // An object may be written once for each of the types of the pointers to it.
    const known = written.find((other) => other.node === node || isSame(node, other.node))
    if (known !== undefined) return this.uint32(known.id)
    written.push({ node, id: this.nextId })
    this.refer(node, value)
  }

  /** Writes an outermost construct: a parameter, and everything that its pointers lead to. */
  construct(node: Node, value: unknown): void {
    this.place(node, value)
    if (this.pending !== undefined) this.follow(this.pending)
  }

  private place(node: Node, value: unknown): void {
    if (node.maxCount !== undefined) this.uint32(node.maxCount(value))
    node.write(this, value)
  }

  /** Writes what pointers point to, depth first. The stack is on the heap: a list may be as long as memory. */
  private follow(pending: Array<PendingWrite>): void {
    const { path } = this
    const stack: Array<PendingWrite> = []
    moveReversed(pending, stack)
    for (let entry = stack.pop(); entry !== undefined; entry = stack.pop()) {
      const { depth, node, value } = entry
      this.path = entry.path
      this.depth = depth
      this.watched = entry.watched
      try {
        if (depth >= watchedDepth && node.readInto === undefined) this.watch(value)
        this.place(node, value)
      } catch (error) {
        throw behind(error, entry.path)
      }
      moveReversed(pending, stack)
    }
    this.path = path
    this.depth = 0
    this.watched = undefined
  }

  /** Refuses a value that contains itself: a value at a depth of 2^n is found again before a depth of 2^(n+1). */
  private watch(value: unknown): void {
    if (value === this.watched) throw new Refusal(status.badStubData, "the value contains itself")
    if ((this.depth & this.depth - 1) === 0) this.watched = value
  }

  finish(): void {
    this.output.position = this.position
  }

  private newId(): number {
    const id = this.nextId
    this.nextId = id + 4
    return id
  }
}

// ----------------------------------------------------------------------------
// reading
// ----------------------------------------------------------------------------

/** What is read. `Ndr.Reader` documents it. */
export interface Input {
  readonly bytes: Uint8Array
  readonly littleEndian: boolean
  readonly owned: boolean
  readonly maximumElements?: number | undefined
  position: number
}

/** Whether full pointers to the types of two nodes may be to one object. */
type IsSame = (node: Node, other: Node) => boolean

/** The counts and the discriminant of what was read. */
type Counts = Pick<Decoder, "maxCount" | "actualCount" | "discriminant">

interface Shared {
  readonly node: Node
  known: boolean
  value: unknown
  counts: Counts
  readonly waiting: Array<Pick<PendingRead, "target" | "key" | "link">>
}

interface PendingRead {
  readonly node: Node
  readonly target: any
  readonly key: string | number
  readonly link: Link | undefined
  readonly shared: Shared | undefined
  readonly path: Path | undefined
}

// The stubs of many calls arrive in one buffer, and making a view of it takes as long as reading a small stub.
let latestView = new DataView(new ArrayBuffer(0))

const viewOf = (buffer: ArrayBufferLike): DataView =>
  latestView.buffer === buffer ? latestView : latestView = new DataView(buffer as ArrayBuffer)

/** Reads one stub. */
export class Decoder {
  readonly bytes: Uint8Array
  /** The whole buffer, in which the stub begins at `offset`. */
  readonly buffer: DataView
  readonly offset: number
  readonly end: number
  readonly littleEndian: boolean
  readonly owned: boolean
  position: number
  path: Path | undefined = undefined
  /** The count in front of the construct that is being read, for the conformant array at its end. */
  hoisted = 0
  /** The counts of the array that was read last, and the discriminant of the union that was read last. */
  maxCount = 0
  actualCount = 0
  discriminant = 0
  private pending: Array<PendingRead> | undefined = undefined
  /** How many more values the stub may hold. */
  private left: number
  private readonly maximumElements: number
  private shared: Map<number, Shared> | undefined = undefined

  constructor(input: Input, maximumElements: number = input.maximumElements ?? defaultElements) {
    // A subclass may slice without copying, as Node's Buffer does.
    const { bytes } = input
    this.bytes = bytes.constructor === Uint8Array
      ? bytes
      : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.buffer = viewOf(bytes.buffer)
    this.offset = bytes.byteOffset
    this.end = bytes.length
    this.littleEndian = input.littleEndian
    this.owned = input.owned
    this.position = input.position
    this.left = this.maximumElements = maximumElements
  }

  align(size: number): void {
    this.position = (this.position + size - 1) & -size
  }

  /** The position of the next `size` bytes, aligned to `size`. */
  slot(size: number): number {
    const at = (this.position + size - 1) & -size
    if (at + size > this.end) throw new Truncated(at + size)
    this.position = at + size
    return at
  }

  /** Refuses a number of elements for which the bytes left can't suffice. */
  require(count: number, size: number): void {
    if (count * size > this.end - this.position) throw new Truncated(this.position + count * size)
  }

  /** Counts values before they are read, and refuses too many of them. */
  charge(values: number): void {
    this.left -= values
    if (this.left >= 0) return
    throw new Refusal(
      status.badStubData,
      `the message holds more than ${this.maximumElements} values. Raise maximumElements to read it`
    )
  }

  uint32(): number {
    const at = this.slot(4)
    return this.buffer.getUint32(this.offset + at, this.littleEndian)
  }

  /** Leaves the target of a pointer for later. */
  refer(node: Node, target: any, key: string | number, link: Link | undefined): void {
    this.leave({ node, target, key, link, shared: undefined, path: this.path })
  }

  private leave(pointer: PendingRead): void {
    ;(this.pending ??= []).push(pointer)
  }

  /** The same for a full pointer: a repeated id is the same object. */
  share(
    id: number,
    node: Node,
    isSame: IsSame,
    target: any,
    key: string | number,
    link: Link | undefined
  ): void {
    this.shared ??= new Map()
    const shared = this.shared.get(id)
    if (shared === undefined) {
      const added: Shared = { node, known: false, value: undefined, counts: this, waiting: [] }
      this.shared.set(id, added)
      this.leave({ node, target, key, link, shared: added, path: this.path })
    } else if (shared.node !== node && !isSame(node, shared.node)) {
      throw new Refusal(status.badStubData, "a full pointer repeats the id of an object of another type")
    } else if (shared.known) {
      target[key] = shared.value
      if (link !== undefined) noteCounts(link, shared.counts)
    } else {
      shared.waiting.push({ target, key, link })
    }
  }

  /** Reads an outermost construct: a parameter, and everything that its pointers lead to. */
  construct(node: Node, target: any, key: string | number, link: Link | undefined): void {
    this.charge(node.values)
    this.place(node, target, key, link, undefined)
    if (this.pending !== undefined) this.follow(this.pending)
  }

  /** Reads what pointers point to, depth first. The stack is on the heap: a list may be as long as its bytes. */
  private follow(pending: Array<PendingRead>): void {
    const { path } = this
    const stack: Array<PendingRead> = []
    moveReversed(pending, stack)
    for (let entry = stack.pop(); entry !== undefined; entry = stack.pop()) {
      const { key, link, node, shared, target } = entry
      this.path = entry.path
      try {
        // The pointer itself was counted.
        this.charge(node.values - 1)
        this.place(node, target, key, link, shared)
      } catch (error) {
        throw behind(error, entry.path)
      }
      moveReversed(pending, stack)
    }
    this.path = path
  }

  private place(node: Node, target: any, key: string | number, link: Link | undefined, shared?: Shared): void {
    if (node.maxCount !== undefined) this.hoisted = this.uint32()
    if (shared === undefined) return this.part(node, target, key, link)
    const settled = receiver(key, (value) => {
      target[key] = value
      this.settle(shared, value)
    })
    this.part(node, settled, key, link)
  }

  /** Reads a part of what is being read. */
  part(node: Node, target: any, key: string | number, link: Link | undefined): void {
    if (node.readInto !== undefined) return node.readInto(this, target, key, link)
    target[key] = node.read(this)
    if (link !== undefined) noteCounts(link, this)
  }

  private settle(shared: Shared, value: unknown): void {
    shared.known = true
    shared.value = value
    const { actualCount, discriminant, maxCount } = this
    shared.counts = { actualCount, discriminant, maxCount }
    for (const { key, link, target } of shared.waiting) {
      target[key] = value
      if (link !== undefined) noteCounts(link, shared.counts)
    }
  }
}

// ----------------------------------------------------------------------------
// views
// ----------------------------------------------------------------------------

/** The same bytes, as a copy where a view would keep a buffer alive that is much larger. */
export const compact = (view: Uint8Array): Uint8Array => 16 * view.length < view.buffer.byteLength ? view.slice() : view
