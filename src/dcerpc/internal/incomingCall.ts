/**
 * A call at the server's end of a connection, from its request to its reply.
 */
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type { Incoming, Outcome, Remote } from "../../Channel.ts"
import type { Interface, Operation } from "../../Interface.ts"
import { badInput } from "../../internal/badInput.ts"
import * as Chunks from "../../internal/chunkBuffer.ts"
import { sentAs } from "../../internal/faultTable.ts"
import { Ends } from "../../internal/pipeEnds.ts"
import type { FullIncoming } from "../../internal/seams.ts"
import type { ClientImpl } from "../../internal/server.ts"
import type { ServerCallImpl } from "../../internal/serverCall.ts"
import type * as Server from "../../Server.ts"
import type { BadStubData } from "../../Status.ts"
import * as Pdu from "../Pdu.ts"
import type { Arguments, ArgumentsBeforePipes, MethodCodec, Problem, Read, TransferSyntax } from "../TransferSyntax.ts"
import { codecFor } from "./methodCodec.ts"
import type { OutgoingStub, Piped } from "./pipeStream.ts"
import type { Identity } from "./protection.ts"

type StatusName =
  | "accessDenied"
  | "unavailable"
  | "noCallActive"
  | "badStubData"
  | "cancelled"
  | "contextMismatch"
  | "unknownInterface"
  | "protocolError"

/** The statuses of faults. */
export const status: { readonly [Name in StatusName]: number } = {
  accessDenied: 5,
  unavailable: 1722,
  noCallActive: 1725,
  badStubData: 1783,
  cancelled: sentAs(1818),
  contextMismatch: sentAs(6),
  unknownInterface: sentAs(1717),
  protocolError: 0x1c01000b
}

/** A presentation context of a connection. */
export interface Context {
  readonly abstractSyntax: Pdu.SyntaxId
  readonly server: Server.Server
  readonly interface: Interface.Any
  readonly syntax: TransferSyntax
}

/** The part of its connection that a call uses. */
export interface Carrier {
  /** The bytes that the arguments of one request may have. */
  readonly maximumRequest: number
  readonly maximumElements: number
  /** A caller of the connection, as a server knows it. */
  readonly client: (server: Server.Server, identity: Identity) => ClientImpl
  /** The stub of a call without its verification trailer, where that is found from the end; `undefined` where it does not fit. */
  readonly stubOf: (call: IncomingCall, request: Pdu.Request) => Uint8Array | undefined
  /** Whether the verification trailer behind the arguments, if there is one, fits. */
  readonly verifies: (call: IncomingCall, request: Pdu.Request, end: number) => boolean
  /** The server has taken the call in. */
  readonly accepted: (call: IncomingCall) => void
  /** Its arguments were read behind an access check that took time. */
  readonly admitted: (call: IncomingCall, request: Pdu.Request) => void
  readonly reply: (call: IncomingCall, outcome: Outcome) => BadStubData | undefined
}

export const hasInPipes = (pipes: Operation["pipes"]): boolean => pipes !== undefined && pipes.some(({ isIn }) => isIn)

const badTrailer = "the verification trailer does not fit: the bind was changed on its way"

const tooShort: Problem = { problem: "the stub ends before the arguments do", status: status.badStubData }

const argumentsOrProblem = (read: Read<ArgumentsBeforePipes> | number): Read<ArgumentsBeforePipes> =>
  typeof read === "number" ? tooShort : read

/** One call of a connection, from its request to its reply. */
export class IncomingCall implements FullIncoming {
  readonly connection: Carrier
  readonly callId: number
  readonly contextId: number
  readonly object: string | undefined
  readonly opnum: number
  /** How many bytes its stub has. */
  readonly size: number
  /** Its request, until the arguments are read: a call in progress keeps no buffer alive that something arrived in. */
  private request: Pdu.Request | undefined
  readonly presentation: Context
  readonly cancelledEarly: boolean
  /** The caller, and the protection of the call's messages. */
  readonly identity: Identity
  /** The caller's level is below what the manager takes. */
  isBelow = false
  codec!: MethodCodec
  maybe = false
  /** Its arguments, and its parent span, once they are read. */
  read: (Arguments & { readonly size?: number }) | undefined = undefined
  pipes: Ends | undefined = undefined
  /** The status of the fault for arguments that can't be read. */
  refused: number | "too large" | undefined = undefined
  /** The server's side, once it was accepted. */
  serverCall!: ServerCallImpl
  cancels = 0
  /** The parts of its response, where pipes go in front of the out parameters. */
  response: OutgoingStub | undefined = undefined
  /** Sends the elements pushed into its out pipes, until the pipes end. */
  sending: Fiber.Fiber<unknown, unknown> | undefined = undefined
  /** The out parameters, which wait until the out pipes are through. */
  results: Exit.Success<unknown, never> | undefined = undefined

  constructor(
    connection: Carrier,
    context: Context,
    request: Pdu.Request,
    cancelledEarly: boolean,
    identity: Identity
  ) {
    this.connection = connection
    this.presentation = context
    this.request = request
    this.callId = request.callId
    this.contextId = request.contextId
    this.object = request.object
    this.opnum = request.opnum
    this.size = request.stub.length
    this.cancelledEarly = cancelledEarly
    this.identity = identity
  }

  get origin(): ClientImpl {
    return this.connection.client(this.presentation.server, this.identity)
  }

  get interface(): Interface.Identity {
    return this.presentation.interface
  }

  get input(): unknown {
    return this.read!.input
  }

  get span(): Incoming["span"] {
    return this.read?.parent
  }

  decode(operation: Operation): BadStubData | undefined {
    const { method, pipes } = operation
    const request = this.request!
    this.request = undefined
    const { flags, littleEndian } = request
    const { maximumElements } = this.connection
    const codec = this.codec = codecFor(this.presentation.syntax, operation)
    this.maybe = method.maybe || pipes === undefined && (flags & Pdu.flags.maybe) !== 0
    const takesPipes = hasInPipes(pipes)
    const stub = takesPipes ? request.stub : this.connection.stubOf(this, request)
    if (stub === undefined) return this.refuse(badTrailer, status.accessDenied)
    const read: Read<Arguments & { readonly size?: number }> = takesPipes
      ? argumentsOrProblem(codec.readArgumentsBeforePipes(stub, littleEndian, maximumElements))
      : codec.readArguments(stub, littleEndian, maximumElements)
    if ("problem" in read) return this.refuse(read.problem, read.status)
    const { end, size } = read.value
    if (size !== undefined && size > this.connection.maximumRequest) {
      return this.refuse("the arguments in front of the pipes are too large", "too large")
    }
    if (end !== undefined && !this.connection.verifies(this, request, end)) {
      return this.refuse(badTrailer, status.accessDenied)
    }
    this.read = read.value
    if (pipes !== undefined) this.pipes = new Ends(pipes, false)
    if (this.serverCall !== undefined) this.connection.admitted(this, request)
    return undefined
  }

  belowLevel(): void {
    this.isBelow = true
  }

  private refuse(problem: string, refused: number | "too large"): BadStubData {
    this.refused = refused
    return badInput(problem)
  }

  accepted(remote: Remote): void {
    this.serverCall = remote as ServerCallImpl
    this.connection.accepted(this)
  }

  /** Its pipes in one direction. */
  piped(isIn: boolean): ReadonlyArray<Piped> {
    const { pipes = [] } = this.serverCall.dispatch.operation
    return pipes.flatMap((pipe, index) =>
      pipe.isIn === isIn
        ? [{ codec: this.codec.pipes[index]!, buffer: Chunks.bufferOf(this.pipes!.slots[index]!) }]
        : []
    )
  }

  endPipes(): void {
    for (const { buffer } of this.piped(false)) Chunks.end(buffer)
  }

  stopSending(): void {
    if (this.sending === undefined) return
    this.response!.isCut = true
    this.sending.interruptUnsafe()
    this.sending = undefined
  }

  /** Nobody receives its out parameters, if it has ended and they wait. */
  dropResults(): void {
    if (this.results !== undefined) this.serverCall.holding?.answered()
  }

  transferred(direction: "in" | "out", bytes: number): void {
    this.serverCall.watch?.transferred(direction, bytes)
  }

  cancel(): void {
    this.cancels = Math.min(this.cancels + 1, 255)
    this.serverCall.cancel()
  }

  reply(outcome: Outcome): BadStubData | undefined {
    return this.connection.reply(this, outcome)
  }
}
