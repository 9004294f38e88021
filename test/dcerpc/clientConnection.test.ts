/** The life of a client's connection: each event in each state. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Scope } from "effect"
import * as Clock from "effect/Clock"
import * as Socket from "effect/socket/Socket"
import { ClientConnection, type Owner } from "../../src/dcerpc/internal/clientConnection.ts"
import { boundTo } from "../../src/dcerpc/internal/proposals.ts"
import { clientTable, type Event, State } from "../../src/dcerpc/internal/connection.ts"
import type { Outbox } from "../../src/transport/internal/outbox.ts"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import { RpcTransportError } from "../../src/Status.ts"
import { ISum } from "./rawServer.ts"

type Name = keyof typeof State

/** The state after each event, in the order of `states`. A dot: the event changes nothing. */
const states: ReadonlyArray<Name> = ["opening", "open", "draining", "lingering", "leaving", "closed"]
const cells: { readonly [E in Event]: string } = {
  connected: ".        .         .          .       .       .",
  agreed: "   open     .         .          .       .       .",
  refused: "  closed   .         .          .       .       .",
  orphaned: " .        draining  .          .       .       .",
  truncated: ".        draining  .          .       .       .",
  exhausted: ".        draining  .          .       .       .",
  shutdownHeard: "closed leaving   leaving    closed  .       .",
  disowned: " .        leaving   leaving    closed  .       .",
  shutdownAsked: "closed closed    closed     closed  closed  .",
  writeFailed: "closed  leaving   leaving    closed  .       .",
  silent: "   closed   closed    closed     closed  closed  .",
  idle: "     .        closed    .          .       .       .",
  callLost: ".           .         .          .       .       .",
  outOfTime: ".          .         .          .       .       .",
  lastCallEnded: ".      .         lingering  .       closed  .",
  lastHandleGone: ".     .         .          closed  .       .",
  closedByPeer: "closed closed    closed     closed  closed  ."
}

/** The events after which what was sent still leaves. */
const inOrder: ReadonlyArray<Event> = ["shutdownAsked", "idle", "lastCallEnded", "lastHandleGone"]

/** A connection in a state, whose owner only writes down what it is told. */
const setUp = (state: Name, room: Outbox["room"] = Effect.void) => {
  const told: Array<string> = []
  const changes = { count: 0 }
  const replies: Array<string> = []
  let sent = 0
  let stopped = false
  const outbox = {
    close: () => Effect.void,
    queuedUnsafe: () => 0,
    isWaitingUnsafe: () => false,
    sendUnsafe: (chunk: Uint8Array) => void (sent += chunk.length),
    sendPartUnsafe: (chunk: Uint8Array) => void (sent += chunk.length),
    hasRoomUnsafe: () => true,
    room,
    drained: room,
    sentUnsafe: () => sent,
    handedUnsafe: () => sent,
    stopUnsafe: () => void (stopped = true),
    isStoppedUnsafe: () => stopped
  } satisfies Pick<Outbox, keyof Outbox>
  const owner = {
    limits: { maximumQueued: 1000, maximumResponse: 1000, callTimeout: Infinity, keepAlive: Infinity },
    clock: Context.get(Context.empty(), Clock.Clock),
    lastCall: 0,
    handles: { need: () => true, areIn: () => true },
    usable: 1,
    kept: 1,
    nextCallId: () => 1,
    fork: <A, E>(effect: Effect.Effect<A, E>) => Effect.runFork(effect),
    resend: () => undefined,
    changed: () => void changes.count++,
    refused: () => undefined,
    ended: (_: ClientConnection, isInOrder: boolean) => void told.push(isInOrder ? "in order" : "at once"),
    probe: () => Effect.succeed(true)
  }
  const connection = new ClientConnection(
    owner as unknown as Owner,
    Scope.makeUnsafe(),
    outbox as unknown as Outbox,
    { protocol: "ncacn_memory", address: undefined, endpoint: "raw", options: {} } as never,
    boundTo(ISum),
    false
  )
  const call = {
    lose: (detail: string) => new RpcTransportError({ status: 1726, detail }),
    call: { reply: (exit: Exit.Exit<unknown, Error>) => void replies.push(String(exit)) }
  }
  if (state !== "opening") connection.move("agreed")
  if (state === "open" || state === "draining" || state === "leaving") connection.calls.set(1, call as never)
  if (state === "draining" || state === "lingering") connection.move("orphaned")
  if (state === "leaving") connection.move("shutdownHeard")
  if (state === "closed") connection.move("closedByPeer")
  assert.strictEqual(connection.state, State[state])
  told.length = 0
  changes.count = 0
  return { changes, connection, isStopped: () => stopped, replies, told }
}

describe("a client's connection", () => {
  it("the table has a row for each state, in the order of their numbers", () => {
    assert.deepStrictEqual(clientTable.map(({ state }, index) => [state, State[state] === index]), [
      ["opening", true],
      ["open", true],
      ["draining", true],
      ["lingering", true],
      ["closed", true],
      ["leaving", true]
    ])
  })

  for (const [event, row] of Object.entries(cells) as Array<[Event, string]>) {
    row.trim().split(/ +/).forEach((cell, index) => {
      const state = states[index]!
      const next = cell === "." ? state : cell as Name
      it(`${state}, ${event}: ${next === state ? "changes nothing" : next}`, () => {
        const { connection, isStopped, replies, told } = setUp(state)
        const pending = connection.calls.size
        const wasStopped = isStopped()
        connection.move(event)
        assert.strictEqual(connection.state, State[next])
        assert.strictEqual(connection.takesCalls, next === "open")
        assert.strictEqual(connection.isFree, next === "open" && pending === 0)
        assert.strictEqual(connection.keeps, ["open", "draining", "lingering"].includes(next))
        const ends = next === "closed" && state !== "closed"
        const isInOrder = inOrder.includes(event)
        assert.deepStrictEqual(told, ends ? [isInOrder ? "in order" : "at once"] : [])
        assert.strictEqual(isStopped(), wasStopped || ends && !isInOrder)
        assert.strictEqual(replies.length, ends ? pending : 0)
      })
    })
  }

  it("no room yet: tells its owner once there is", () => {
    const { changes, connection } = setUp("open")
    connection.awaitRoom()
    assert.strictEqual(changes.count, 1)
  })

  it("no room any more, because a write failed: does not send its owner back to ask again", () => {
    const failed = new Socket.SocketError({ reason: new Socket.SocketCloseError({ code: 1006 }) })
    const { changes, connection } = setUp("open", Effect.fail(failed))
    for (let i = 0; i < 3; i++) connection.awaitRoom()
    assert.strictEqual(changes.count, 0)
  })

  it.effect("the answer to the bind is read with what follows it: who opens the connection is told afterwards", () =>
    Effect.gen(function* () {
      const { connection } = setUp("opening")
      const opened = yield* Effect.forkChild(Effect.exit(Deferred.await(connection.opened)))
      const writer = new Pdu.Writer()
      Pdu.encodeBindAck(writer, {
        callId: 1,
        flags: 0,
        maxXmitFrag: 5840,
        maxRecvFrag: 5840,
        assocGroupId: 1,
        secAddr: "",
        results: [
          { result: 0, reason: 0, transferSyntax: boundTo(ISum).syntax.id },
          { result: 2, reason: 2, transferSyntax: Pdu.nilSyntax }
        ]
      })
      assert.isUndefined(connection.receive(Pdu.decode(writer.take()) as Pdu.Pdu))
      assert.isTrue(connection.takesCalls)
      assert.isUndefined(opened.pollUnsafe())
      connection.announce()
      assert.isTrue(Exit.isSuccess(yield* Fiber.join(opened)))
    }))
})
