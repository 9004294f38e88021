/**
 * The pipes of a client's calls: pushed elements go out behind the arguments, arriving ones come in front of the results.
 */
import * as Exit from "effect/Exit"
import type { Outcome } from "../../Channel.ts"
import { badInput } from "../../internal/badInput.ts"
import { bufferOf } from "../../internal/chunkBuffer.ts"
import { unreadable } from "../../internal/failures.ts"
import { PipeDisciplineError, RpcTransportError } from "../../Status.ts"
import * as Pdu from "../Pdu.ts"
import type { Problem } from "../TransferSyntax.ts"
import type { PipeCarrier, SentCall } from "./clientConnection.ts"
import { unprotected } from "./clientSecurity.ts"
import { IncomingPipes, OutgoingStub, type Piped, sendPipes } from "./pipeStream.ts"

/** The pipes of a call in one direction. */
const pipesOf = ({ call, codec }: SentCall, isIn: boolean): ReadonlyArray<Piped> => {
  const { operation: { pipes = [] }, pipes: ends } = call
  return pipes.flatMap((pipe, index) =>
    pipe.isIn === isIn ? [{ codec: codec.pipes[index]!, buffer: bufferOf(ends!.slots[index]!) }] : []
  )
}

const unended: Problem = { problem: "the response ends before its pipes do", status: 1783 }

const send: PipeCarrier["send"] = (connection, sent, fields) => {
  const { call, codec, input } = sent
  const { outbox, owner, writer } = connection
  const outgoing = pipesOf(sent, true)
  const stub = new OutgoingStub(
    writer,
    connection.maxFragment,
    () => Pdu.beginRequest(writer, fields),
    (following, size) => {
      connection.flush(following)
      call.transferred("out", size)
    },
    connection.security?.trailer
  )
  sent.begin = outbox.sentUnsafe()
  const problem = stub.send((writer) => codec.writeArguments(writer, input, call.span), () => outgoing.length === 0)
  if (problem !== undefined) return badInput(problem.problem)
  sent.request = stub
  sent.end = outbox.sentUnsafe()
  call.remote = sent
  if (connection.isClosed) {
    sent.end = Infinity
    call.reply(Exit.fail(sent.lose(unprotected)!))
    return undefined
  }
  connection.calls.set(sent.callId, sent)
  connection.used = true
  connection.watch()
  if (outgoing.length === 0) return undefined
  sent.sending = owner.fork(sendPipes(outgoing, stub, outbox.room, true))
  sent.sending.addObserver((exit) => {
    if (sent.sending === undefined) return
    sent.sending = undefined
    if (exit._tag === "Failure" || exit.value === undefined) return
    const { problem } = exit.value as Problem
    const detail = `the client cannot write what was pushed into a pipe: ${problem}`
    connection.failHere(sent, new RpcTransportError({ status: 1726, detail }), false)
  })
  return undefined
}

const arrive: PipeCarrier["arrive"] = (connection, sent, { flags, littleEndian, stub }) => {
  const { maximumElements, maximumResponse } = connection.owner.limits
  const isFirst = (flags & Pdu.flags.firstFrag) !== 0
  if (isFirst !== (sent.arriving === undefined)) return `a fragment that is ${isFirst ? "" : "not "}the first one`
  const arriving = sent.arriving ??= new IncomingPipes(pipesOf(sent, false), littleEndian, maximumElements, 0)
  if (littleEndian !== arriving.rest.littleEndian) return "a fragment whose byte order is not that of its message"
  const problem = arriving.push(stub)
  // The reader may have given the call up.
  if (connection.calls.get(sent.callId) !== sent) return undefined
  const { bytes, position } = arriving.rest
  if (problem !== undefined) {
    connection.failHere(sent, unreadable(problem.problem), false)
  } else if (arriving.isThrough && bytes.length - position > maximumResponse) {
    connection.failHere(sent, connection.tooLarge, false)
  } else if ((flags & Pdu.flags.lastFrag) !== 0) {
    const read = arriving.isThrough ? sent.codec.readResults(bytes, littleEndian, maximumElements, position) : unended
    const outcome: Outcome = "problem" in read ? Exit.fail(unreadable(read.problem)) : read.value
    // After a cancel the request ends in the middle, and the manager may answer all the same.
    const isEarly = outcome._tag === "Success" && !sent.cancelled && sent.request?.isWhole === false
    connection.complete(sent, isEarly ? Exit.fail(new PipeDisciplineError({ pipe: "of the call" })) : outcome)
  }
  return undefined
}

export const pipes: PipeCarrier = { send, arrive }
