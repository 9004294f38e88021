import * as NodeSocket from "@effect/platform-node-shared/NodeSocket"
import * as NodeSocketServer from "@effect/platform-node-shared/NodeSocketServer"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Queue, Stream } from "effect"
import * as DevTools from "effect/devtools/DevTools"
import type * as DevToolsSchema from "effect/devtools/DevToolsSchema"
import * as DevToolsServer from "effect/devtools/DevToolsServer"
import type * as NetAddress from "effect/net/NetAddress"
import * as SocketServer from "effect/socket/SocketServer"
import { Call } from "../../mod.ts"
import { makeDesk } from "../fixtures.ts"

describe("Effect's devtools", () => {
  it.live("calls of a program: arrive as spans of both sides, with their parents, events and ends", () =>
    Effect.gen(function* () {
      const told = yield* Queue.unbounded<DevToolsSchema.Request.WithoutPing>()
      const socketServer = yield* NodeSocketServer.make({ host: "127.0.0.1", port: 0 })
      const { port } = socketServer.address as NetAddress.InetAddress
      const program = Effect.gen(function* () {
        const { desk } = yield* makeDesk()
        yield* Call.invoke(desk, "Answer", "a")
        const pending = yield* Call.begin(yield* Call.make(desk), "Stay", "a")
        yield* Call.cancel(pending, { timeout: "Infinity" })
        yield* Effect.exit(Call.join(pending))
      }).pipe(Effect.scoped)
      const devTools = DevTools.layerSocket.pipe(Layer.provide(NodeSocket.layerNet({ host: "127.0.0.1", port })))
      yield* DevToolsServer.run(({ queue }) =>
        Stream.runForEach(Stream.fromQueue(queue), (one) => Queue.offer(told, one))
      ).pipe(
        Effect.provideService(SocketServer.SocketServer, socketServer),
        Effect.forkScoped
      )
      yield* Effect.provideContext(program, yield* Layer.build(devTools))

      const spans = new Map<string, DevToolsSchema.Span>()
      const events: Array<readonly [span: string, event: string]> = []
      const isComplete = () => spans.size === 4 && [...spans.values()].every(({ status }) => status._tag === "Ended")
      while (!isComplete()) {
        const one = yield* Queue.take(told)
        if (one._tag === "Span") spans.set(one.spanId, one)
        else if (one._tag === "SpanEvent") events.push([one.spanId, one.name])
      }
      const ended = [...spans.values()].map(({ attributes, name }) => `${name} ${attributes.get("callisto.outcome")}`)
      assert.sameMembers(ended, [
        "Desk.Answer replied",
        "Desk.Answer replied",
        "Desk.Stay cancelled",
        "Desk.Stay cancelled"
      ])
      const isServer = ({ parent }: DevToolsSchema.Span) => Option.isSome(parent) && spans.has(parent.value.spanId)
      assert.strictEqual([...spans.values()].filter(isServer).length, 2)
      const named = events.map(([span, event]) => `${isServer(spans.get(span)!) ? "server" : "client"} ${event}`)
      assert.includeMembers(named, ["client cancel", "server Cancelled"])
    }))
})
