/** What a program with logins prints: never a password, a hash or a key. And what operators count. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Logger, Metric, Redacted, References, Schema, Scope, Tracer } from "effect"
import { inspect } from "node:util"
import { Call, Interface, Manager, Observability, Server, ServerCall } from "../../mod.ts"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as Negotiate from "../../src/security/Negotiate.ts"
import * as Ntlm from "../../src/security/Ntlm.ts"
import * as Security from "../../src/security/Security.ts"
import * as Memory from "../../src/transport/Memory.ts"
import { patched } from "../dcerpc/rawClient.ts"
import { settle } from "../dcerpc/rawServer.ts"
import { makeClient, makeServer } from "./fakeProvider.ts"
import { auth3, client, Context, elements, makeWorld, token } from "./rawLogin.ts"
import { bind, request } from "../dcerpc/rawClient.ts"

const password = Redacted.make("correct horse battery staple")
const hash = Ntlm.hash(password)
const accounts: Ntlm.Accounts = ({ user }) => user === "alice" ? { ntHash: hash } : undefined

const IAsk = Interface.make("IAsk", {
  uuid: "5e0c1a10-7c1f-4c5e-9a57-1d2f8f6a0b01",
  version: [1, 0],
  methods: {
    Ask: Interface.method({ in: Schema.String, out: Schema.String }),
    Die: Interface.method({}),
    Never: Interface.method({})
  }
})

/** All the ways in which bytes could be printed. */
const formsOf = (bytes: Uint8Array): ReadonlyArray<string> => {
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0"))
  const part = bytes.slice(0, 8)
  return [
    hex.join("").slice(0, 16),
    hex.slice(0, 8).join(" "),
    [...part].join(", "),
    [...part].join(","),
    btoa(String.fromCharCode(...part)).slice(0, 10),
    new TextDecoder("latin1").decode(part)
  ]
}

/** Providers that keep a copy of the keys of their sessions, and the sessions. */
const spying = () => {
  const keys: Array<Uint8Array> = []
  const sessions: Array<Security.Session> = []
  const spied = (exchange: Security.Exchange): Security.Exchange => ({
    step: (token) =>
      Effect.tap(exchange.step(token), ({ session }) =>
        Effect.sync(() => {
          if (session === undefined) return
          sessions.push(session)
          keys.push(Redacted.value(session.sessionKey).slice())
        }))
  })
  return {
    keys,
    sessions,
    client: (provider: Security.ClientProvider): Security.ClientProvider => ({
      ...provider,
      initiate: (options) => Effect.map(provider.initiate(options), spied)
    }),
    server: (provider: Security.ServerProvider): Security.ServerProvider => ({
      ...provider,
      accept: (options) => Effect.map(provider.accept(options), spied)
    })
  }
}

const place = "ncacn_memory:[secrets]"

describe("secrets", () => {
  for (const provider of [Ntlm.client, Negotiate.client]) {
    it.effect(`${provider.name}: nothing that a run prints holds a password, a hash or a key`, () => {
      const printed: Array<string> = []
      const print = (...things: ReadonlyArray<unknown>) => {
        for (const thing of things) {
          printed.push(String(thing), inspect(thing, { depth: 20 }))
          try {
            printed.push(JSON.stringify(thing) ?? "")
          } catch {
            // A circle has no JSON.
          }
        }
      }
      const spy = spying()
      const logger = Logger.make((entry) => {
        print(entry.message, Cause.pretty(entry.cause), entry.cause)
        printed.push(Logger.formatJson.log(entry), Logger.formatLogFmt.log(entry))
      })
      const spans: Array<Tracer.Span> = []
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          spans.push(span)
          return span
        }
      })
      const run = Effect.gen(function* () {
        const server = yield* Server.make([
          Manager.make(IAsk, {
            Ask: (input, call) => Effect.sync(() => (print(ServerCall.caller(call), call), input)),
            Die: () => Effect.die(new Error("as expected")),
            Never: () => Effect.never
          }, { access: (asked) => (print(asked), asked.method !== "Never") })
        ])
        const endpoint = yield* Endpoint.make(server, {
          security: [spy.server(Ntlm.server(accounts)), spy.server(Negotiate.server({ ntlm: accounts }))]
        })
        yield* Endpoint.listen(endpoint, place)
        for (const level of ["connect", "integrity", "privacy"] as const) {
          const credentials = [{ user: "alice", password }, { user: "alice", ntHash: hash }] as const
          for (const one of [...credentials, { user: "alice", password: Redacted.make("wrong password") }]) {
            const security = Security.make({ provider: spy.client(provider), credentials: one, level })
            print(security, one)
            const bound = yield* Effect.exit(Association.bind(IAsk, place, { security }))
            print(bound)
            if (Exit.isFailure(bound)) {
              print(Cause.pretty(bound.cause), Cause.squash(bound.cause))
              continue
            }
            const binding = bound.value
            const call = yield* Call.make(binding)
            print(call, yield* Call.security(call))
            for (const [method, input] of [["Ask", "a question"], ["Die", undefined], ["Never", undefined]] as const) {
              const exit = yield* Effect.exit(Call.invoke(binding, method as "Ask", input as string))
              print(exit)
              if (Exit.isFailure(exit)) print(Cause.pretty(exit.cause), Cause.squash(exit.cause))
            }
            print(binding, endpoint, server)
          }
        }
        print(...spy.sessions)
      }).pipe(Effect.scoped)
      return Effect.gen(function* () {
        yield* run
        for (const { attributes, events, links, name, status } of spans as Array<Tracer.NativeSpan>) {
          print(name, [...attributes], events, links, status)
        }
        assert.isAbove(spans.length, 0)
        assert.isAbove(spy.keys.length, 4)
        const all = printed.join("\n")
        assert.include(all, "wrong user name or password")
        assert.notInclude(all, "correct horse")
        assert.notInclude(all, 'wrong password"')
        for (const bytes of [Redacted.value(hash), ...spy.keys]) {
          for (const form of formsOf(bytes)) assert.notInclude(all, form)
        }
      }).pipe(
        Effect.provideService(Tracer.Tracer, tracer),
        Effect.withSpan("all of it"),
        Effect.provideService(References.MinimumLogLevel, "All"),
        Effect.provide(Layer.mergeAll(Memory.layer, Logger.layer([logger])))
      )
    })

    it.effect(`${provider.name}: the keys of both sides are wiped when the connection closes`, () =>
      Effect.gen(function* () {
        const spy = spying()
        const echo = { Ask: (text: string) => Effect.succeed(text), Die: () => Effect.void, Never: () => Effect.never }
        yield* Endpoint.serve(yield* Server.make([Manager.make(IAsk, echo)]), place, {
          security: [spy.server(Ntlm.server(accounts)), spy.server(Negotiate.server({ ntlm: accounts }))]
        })
        const scope = yield* Scope.make()
        const security = Security.make({ provider: spy.client(provider), credentials: { user: "alice", password } })
        const binding = yield* Scope.provide(Association.bind(IAsk, place, { security }), scope)
        assert.strictEqual(yield* Call.invoke(binding, "Ask", "a"), "a")
        assert.lengthOf(spy.sessions, 2)
        const held = spy.sessions.map(({ sessionKey }) => Redacted.value(sessionKey))
        assert.deepStrictEqual(held[0], held[1])
        yield* Effect.forkChild(Scope.close(scope, Exit.void))
        yield* settle
        for (const bytes of held) assert.deepStrictEqual([...bytes], new Array(16).fill(0))
        for (const { sessionKey } of spy.sessions) assert.throws(() => Redacted.value(sessionKey))
      }).pipe(Effect.scoped, Effect.provide(Memory.layer)))
  }
})

describe("metrics", () => {
  it.effect("a refused login and a broken signature: one of each is counted, by provider", () =>
    Effect.gen(function* () {
      yield* makeWorld()
      const one = yield* client
      const hello = bind({ contextElements: elements.slice(0, 1), authTrailer: token("alice"), flags: 4 })
      yield* one.say(hello, auth3("refused"))
      const two = yield* client
      const context = new Context()
      yield* two.say(hello, auth3("proof"))
      yield* two.say(patched(context.sign(request({ authTrailer: context.trailer })), { 24: [1] }))
      const found = (yield* Metric.snapshot)
        .filter(({ id }) => id.endsWith("s_refused"))
        .map(({ attributes, id, state }) => [id, attributes, (state as { readonly count: number }).count])
      assert.deepStrictEqual(found, [
        ["callisto_logins_refused", { provider: "Fake" }, 1],
        ["callisto_messages_refused", { provider: "Fake" }, 1]
      ])
    }).pipe(
      Effect.scoped,
      Effect.provide(Layer.merge(Memory.layer, Observability.layer)),
      Effect.provideService(Metric.MetricRegistry, new Map())
    ))
})

describe("a provider that dies", () => {
  it.effect("provider dies: its words reach neither the caller nor a log", () => {
    const printed: Array<string> = []
    const logger = Logger.make((entry) => void printed.push(Logger.formatJson.log(entry)))
    return Effect.gen(function* () {
      yield* Endpoint.serve(yield* Server.make([]), place, { security: [makeServer()] })
      for (const user of ["die", "throw"]) {
        const security = Security.make({ provider: makeClient(), credentials: { user, password } })
        const exit = yield* Effect.exit(Effect.scoped(Association.bind(IAsk, place, { security })))
        printed.push(inspect(exit, { depth: 20 }), JSON.stringify(exit))
      }
      assert.notInclude(printed.join(), "hunter2")
    }).pipe(Effect.scoped, Effect.provide(Layer.merge(Memory.layer, Logger.layer([logger]))))
  })
})
