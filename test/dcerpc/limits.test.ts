/** What one client holds or does: it is bounded, and costs the others nothing. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Queue, Scope } from "effect"
import { TestClock } from "effect/testing"
import { ServerCall } from "../../mod.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import * as Memory from "../../src/transport/Memory.ts"
import {
  bind,
  bindNak,
  bound,
  clientOf,
  concat,
  connect,
  connectTo,
  first,
  makeWorld,
  opnum,
  request,
  response,
  settle,
  u32,
  wire
} from "./rawClient.ts"

describe("connections at their limit", () => {
  wire("one more: the connection that was idle for longest goes", (client) =>
    Effect.gen(function* () {
      yield* client.ask(bind())
      const second = yield* bound()
      yield* client.say(request())
      const third = yield* bound()
      assert.deepStrictEqual([client.state.closed, second.state.closed, third.state.closed], [false, true, false])
      assert.deepStrictEqual(yield* client.say(request()), [response(2, 42)])
    }), { maximumConnections: 3 })
  wire(
    "one more, and each has a call or half a request: it is closed itself",
    (client, { kept }) =>
      Effect.gen(function* () {
        yield* client.ask(bind(), request({ opnum: opnum.keep }))
        const second = yield* bound()
        yield* second.ask(first())
        const third = yield* connect
        yield* settle
        assert.deepStrictEqual([client.state.closed, second.state.closed, third.state.closed], [false, false, true])
        yield* ServerCall.complete(yield* Queue.take(kept), { value: 1 })
      }),
    { maximumConnections: 3 }
  )
  wire("one more, and another keeps bytes that do not leave: it is closed itself", (client) =>
    Effect.gen(function* () {
      yield* client.ask(bind())
      client.state.reads = false
      yield* client.write(request())
      yield* settle
      yield* client.write(request({ opnum: opnum.sourceData, stub: u32(300_000) }))
      yield* settle
      const late = yield* connect
      yield* settle
      assert.isTrue(late.state.closed)
      client.state.reads = true
      yield* TestClock.adjust("1 second")
    }), { maximumConnections: 2 })
})

describe("a request that is half there", () => {
  wire(
    "30 seconds without one more fragment: the connection is closed, and others stay",
    (client) =>
      Effect.gen(function* () {
        yield* client.ask(bind(), first())
        const idle = yield* bound()
        yield* TestClock.adjust("29 seconds")
        yield* client.ask(request({ exactFlags: 0 }))
        yield* TestClock.adjust("29 seconds")
        assert.isFalse(client.state.closed)
        yield* TestClock.adjust("1 second")
        assert.isTrue(client.state.closed)
        assert.isFalse(idle.state.closed)
      })
  )
  wire(
    "no progress for a requestTimeout of 5 seconds: the connection is closed then",
    (client) =>
      Effect.gen(function* () {
        yield* client.ask(bind(), first())
        yield* TestClock.adjust(4999)
        assert.isFalse(client.state.closed)
        yield* TestClock.adjust(1)
        assert.isTrue(client.state.closed)
      }),
    { requestTimeout: "5 seconds" }
  )
  wire("a byte each second: that is no progress", (client) =>
    Effect.gen(function* () {
      yield* client.ask(bind(), first())
      for (const byte of request({ exactFlags: 0 }).subarray(0, 16)) {
        yield* client.write(Uint8Array.of(byte))
        yield* settle
        yield* TestClock.adjust("1 second")
      }
      assert.isFalse(client.state.closed)
      yield* TestClock.adjust("14 seconds")
      assert.isTrue(client.state.closed)
    }))
  wire("half a header, within the idle time: it does not end the silence", (client) =>
    Effect.gen(function* () {
      yield* client.ask(bind())
      for (const byte of request().subarray(0, 10)) {
        yield* TestClock.adjust("1 second")
        yield* client.write(Uint8Array.of(byte))
        yield* settle
      }
      yield* settle
      assert.isTrue(client.state.closed)
    }), { idleTimeout: "10 seconds" })
  wire(
    "more bytes in total than may be: the one without progress for longest is closed",
    (client) =>
      Effect.gen(function* () {
        const part = (bytes: number) => first({ stub: new Uint8Array(bytes) })
        yield* client.ask(bind(), part(4000))
        const second = yield* bound()
        yield* TestClock.adjust("1 second")
        yield* second.ask(part(4000))
        yield* TestClock.adjust("1 second")
        // It is in the middle of a request too, but the last that made progress.
        const third = yield* bound()
        yield* third.ask(part(4000))
        assert.deepStrictEqual([client.state.closed, second.state.closed, third.state.closed], [true, false, false])
        assert.deepStrictEqual(yield* second.say(request({ exactFlags: 2, stub: new Uint8Array(0) })), [response(2, 1)])
      }),
    { maximumTotalRequest: 20_000 }
  )
  wire(
    "many small parts, and one too large: the small ones are closed, one after another",
    (client) =>
      Effect.gen(function* () {
        yield* client.ask(bind())
        const others = yield* Effect.replicateEffect(connect, 1000)
        for (const other of others) yield* other.write(bind().subarray(0, 20))
        yield* settle
        yield* TestClock.adjust("1 second")
        yield* client.ask(first({ stub: new Uint8Array(5000) }))
        yield* settle
        assert.strictEqual(others.filter(({ state }) => state.closed).length, 500)
        assert.deepStrictEqual(yield* client.say(request({ exactFlags: 2, stub: new Uint8Array(0) })), [response(2, 1)])
      }),
    { maximumTotalRequest: 20_000 }
  )
  wire(
    "what waits for room, in total more than may be: the one without progress for longest is closed",
    (client) =>
      Effect.gen(function* () {
        yield* client.ask(bind())
        client.state.reads = false
        // The transport is full, and what is in front of it.
        for (let callId = 2; callId < 6; callId++) {
          yield* client.write(request({ callId, opnum: opnum.sourceData, stub: u32(60_000) }))
        }
        yield* settle
        const other = yield* bound()
        yield* Effect.forkScoped(
          client.write(concat(...Array.from({ length: 500 }, (_, i) => request({ callId: i + 6 }))))
        )
        yield* settle
        client.state.reads = true
        yield* TestClock.adjust("10 millis")
        assert.isTrue(client.state.closed)
        assert.deepStrictEqual(yield* other.say(request()), [response(2, 42)])
      }),
    { maximumTotalRequest: 10_000 }
  )
})

describe("replies that nobody reads", () => {
  const stop = (client: Effect.Success<typeof connect>) =>
    Effect.suspend(() => {
      client.state.reads = false
      return Effect.andThen(client.write(request()), settle)
    })
  const source = (bytes: number) => request({ opnum: opnum.sourceData, stub: u32(bytes) })
  wire("more in total than may be: the connection with most of them is closed", (client) =>
    Effect.gen(function* () {
      yield* client.ask(bind())
      yield* stop(client)
      yield* client.write(source(200_000))
      yield* settle
      const second = yield* bound()
      yield* stop(second)
      yield* second.write(source(500_000))
      yield* settle
      yield* second.write(request({ callId: 9 }))
      yield* settle
      yield* TestClock.adjust("10 millis")
      client.state.reads = second.state.reads = true
      yield* TestClock.adjust("10 millis")
      assert.deepStrictEqual([client.state.closed, second.state.closed], [false, true])
    }), { maximumTotalQueued: 600_000 })
  wire(
    "more than may wait for one client, which reads them slowly: it is not cut off",
    (client, { kept }) =>
      Effect.gen(function* () {
        yield* client.ask(bind(), request({ callId: 3, opnum: opnum.keep }))
        yield* stop(client)
        yield* client.write(source(500_000))
        yield* settle
        yield* ServerCall.complete(yield* Queue.take(kept), { value: 1 })
        for (let second = 0; second < 100; second += 20) {
          yield* TestClock.adjust("20 seconds")
          client.state.reads = true
          yield* TestClock.adjust("1 milli")
          client.state.reads = false
        }
        assert.isFalse(client.state.closed)
        client.state.reads = true
      }),
    { maximumQueued: 100_000 }
  )
  it.effect("small replies that wait: they keep no large buffer alive", () =>
    Effect.gen(function* () {
      const { endpoint } = yield* makeWorld()
      const [near, far] = yield* Memory.makePair
      yield* Effect.forkScoped(Endpoint.handle(endpoint, far))
      const other = yield* bound()
      const { pull } = yield* near.socket.reader
      const writer = yield* near.socket.writer
      // The transport is full, and there is room in front of it.
      yield* writer.write(concat(bind(), source(60_000), source(60_000)))
      yield* settle
      const calls = Array.from({ length: 20 }, (_, i) => i + 3)
      for (const callId of calls) {
        yield* writer.write(request({ callId }))
        yield* settle
        yield* other.ask(source(50_000))
      }
      const held: Array<number> = []
      const parser = Pdu.makeParser({ maxFragment: Pdu.maxFragment, owned: true })
      while (held.length < calls.length) {
        for (const chunk of yield* pull) {
          for (const pdu of parser.push(chunk as Uint8Array)) {
            if (pdu._tag === "Response" && pdu.callId > 2) held.push(pdu.stub.buffer.byteLength)
          }
        }
      }
      assert.isBelow(Math.max(...held), 100)
    }).pipe(Effect.scoped, Effect.provide(Memory.layer)))
})

describe("an association group", () => {
  const join = (client: Effect.Success<typeof connect>, assocGroupId = 0) =>
    Effect.map(client.ask(bind({ assocGroupId })), ([ack]) => ack?._tag === "BindAck" ? ack.assocGroupId : undefined)
  wire("made after another one: its id does not follow from that", (client) =>
    Effect.gen(function* () {
      const ids = [yield* join(client)]
      for (let i = 0; i < 8; i++) ids.push(yield* join(yield* connect))
      assert.strictEqual(new Set(ids).size, 9)
      // By chance once in 10^40 runs.
      assert.isAbove(Math.max(...ids.map((id) => id!)), 0xffff)
    }))
  wire(
    "joined by a client of another string binding: is refused with 0",
    (client, { endpoint }) =>
      Effect.gen(function* () {
        yield* Endpoint.listen(endpoint, "ncacn_memory:[elsewhere]")
        const id = yield* join(client)
        const other = yield* connectTo("ncacn_memory:[elsewhere]")
        assert.deepStrictEqual(yield* other.say(bind({ assocGroupId: id! })), [bindNak(1, 0)])
      })
  )
  wire("joined by another caller: is refused with 0", (_, { endpoint }) =>
    Effect.gen(function* () {
      const serve = Effect.fnUntraced(function* (name: string) {
        const [near, far] = yield* Memory.makePair
        yield* Effect.forkScoped(Endpoint.handle(endpoint, far, { caller: { name, level: "connect" } }))
        return yield* clientOf(near, yield* Scope.fork(yield* Effect.scope))
      })
      const id = yield* join(yield* serve("alice"))
      assert.strictEqual(yield* join(yield* serve("alice"), id), id)
      assert.deepStrictEqual(yield* (yield* serve("bob")).say(bind({ assocGroupId: id! })), [bindNak(1, 0)])
    }))
})

describe("a client that floods the server", () => {
  it.effect("2,000 requests in one chunk: another client's request is answered before the most of them", () =>
    Effect.gen(function* () {
      yield* makeWorld()
      const flooding = yield* bound()
      const other = yield* bound()
      const heard: Array<string> = []
      let flooded = 0
      yield* flooding.write(...Array.from({ length: 2000 }, (_, i) => request({ callId: i + 2 })))
      yield* other.write(request())
      for (let turn = 0; heard.length < 2; turn++) {
        yield* Effect.yieldNow
        if (!heard.includes("other") && (yield* other.now).length > 0) heard.push("other")
        const count = (yield* flooding.now).length
        flooded += count
        if (flooded === 2000) heard.push("flooding")
        assert.isBelow(turn, 10_000)
      }
      assert.deepStrictEqual(heard, ["other", "flooding"])
    }).pipe(Effect.provide(Memory.layer)))
})
