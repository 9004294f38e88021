/**
 * Calls with a login: client and server in memory.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Redacted, Schema, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Binding, Call, Interface, Manager, Server, ServerCall } from "../../mod.ts"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as Management from "../../src/dcerpc/Management.ts"
import * as EndpointMapper from "../../src/dcerpc/EndpointMapper.ts"
import * as Ndr from "../../src/ndr/Ndr.ts"
import * as Negotiate from "../../src/security/Negotiate.ts"
import * as Ntlm from "../../src/security/Ntlm.ts"
import * as Security from "../../src/security/Security.ts"
import * as Memory from "../../src/transport/Memory.ts"
import { settle } from "../dcerpc/rawServer.ts"
import { IShelf, makeShelf } from "../shelf.ts"

const password = Redacted.make("correct horse")

const accounts: Ntlm.Accounts = ({ user }) =>
  user === "alice" ? { ntHash: Ntlm.hash(password), groups: ["readers"], domain: "CORP" } : undefined

const interfaceOf = (text: Schema.Codec<string>, uuid: string) =>
  Interface.make("IWho", {
    uuid,
    version: [1, 0],
    methods: { Who: Interface.method({ in: text, out: text }) }
  })

const IPlain = interfaceOf(Schema.String, "0f5c6a3e-8d3b-4d4e-9c0b-6b7f2e1d3c01")
const INdr = interfaceOf(Ndr.WString, "0f5c6a3e-8d3b-4d4e-9c0b-6b7f2e1d3c02")

const who = (input: string) =>
  Effect.map(
    ServerCall.currentCaller,
    ({ domain, groups, level, name, provider }) => [domain, name, level, provider, ...groups, input].join(" ")
  )

const serve = (place: string) =>
  Effect.gen(function* () {
    const server = yield* Server.make([
      Manager.make(IPlain, { Who: (input) => Effect.orDie(who(input)) }),
      Manager.make(INdr, { Who: (input) => Effect.orDie(who(input)) })
    ])
    yield* Endpoint.serve(server, place, { security: [Ntlm.server(accounts), Negotiate.server({ ntlm: accounts })] })
  })

const alice = { user: "alice", domain: "CORP", password }

describe("a login", () => {
  for (const provider of [Ntlm.client, Negotiate.client]) {
    for (const level of ["packet", "integrity", "privacy"] as const) {
      for (const iface of [IPlain, INdr]) {
        for (const size of [10, 100_000]) {
          it.effect(
            `${provider.name}, ${level}, ${
              iface === INdr ? "NDR" : "Callisto's syntax"
            }, ${size} characters: calls are made as alice`,
            () =>
              Effect.gen(function* () {
                yield* serve("ncacn_memory:[who]")
                const security = Security.make({ provider, credentials: alice, level })
                const binding = yield* Association.bind(iface, "ncacn_memory:[who]", { security })
                for (const text of ["a", "b", "c"]) {
                  const input = text.repeat(size)
                  const answer = yield* Call.invoke(binding, "Who", input)
                  assert.strictEqual(answer, `CORP alice ${level} NTLM readers ${input}`)
                }
              }).pipe(Effect.provide(Memory.layer))
          )
        }
      }
    }
  }
})

describe("without a login, at an endpoint with providers", () => {
  it.effect("an endpoint mapper: it answers", () =>
    Effect.gen(function* () {
      const server = yield* Server.make([yield* EndpointMapper.makeManager()])
      yield* Endpoint.serve(server, "ncacn_memory:[mapper]", { security: [Ntlm.server(accounts)] })
      const mapper = yield* Association.bind(EndpointMapper.IEndpointMapper, "ncacn_memory:[mapper]")
      assert.deepStrictEqual(yield* Stream.runCollect(EndpointMapper.lookup(mapper)), [])
    }).pipe(Effect.provide(Memory.layer)))

  it.effect("a manager that says nothing: it refuses", () =>
    Effect.gen(function* () {
      yield* serve("ncacn_memory:[who]")
      const binding = yield* Association.bind(IPlain, "ncacn_memory:[who]")
      const error = yield* Effect.flip(Call.invoke(binding, "Who", "a"))
      assert.strictEqual("code" in error && error.code, 5)
    }).pipe(Effect.provide(Memory.layer)))
})

const bindAs = (user: string, level: "integrity" | "privacy" = "integrity", secret = password) =>
  Security.make({ provider: Ntlm.client, credentials: { user, domain: "CORP", password: secret }, level })

describe("the security of a call object", () => {
  it.effect("setSecurity: holds for the calls that begin from then on, and of this object alone", () =>
    Effect.gen(function* () {
      yield* serve("ncacn_memory:[who]")
      const binding = yield* Association.bind(IPlain, "ncacn_memory:[who]", { security: bindAs("alice") })
      const [one, other] = [yield* Call.make(binding), yield* Call.make(binding)]
      yield* Call.setSecurity(one, bindAs("alice", "privacy"))
      const ask = (call: typeof one) => Effect.flatMap(Call.begin(call, "Who", "x"), Call.join)
      assert.strictEqual(yield* ask(one), "CORP alice privacy NTLM readers x")
      assert.strictEqual(yield* ask(other), "CORP alice integrity NTLM readers x")
      yield* Call.setSecurity(one, undefined)
      assert.strictEqual(yield* ask(one), "CORP alice integrity NTLM readers x")
    }).pipe(Effect.provide(Memory.layer)))

  it.effect("setSecurity while a call is pending: CallPending; after the release: InvalidAsyncHandle", () =>
    Effect.gen(function* () {
      const INever = Interface.make("INever", { methods: { Never: Interface.method({}) } })
      const server = yield* Server.make([Manager.make(INever, { Never: () => Effect.never })], { grace: 0 })
      const call = yield* Call.make(yield* Binding.local(server, INever))
      const pending = yield* Call.begin(call, "Never")
      assert.strictEqual((yield* Effect.flip(Call.setSecurity(call, bindAs("alice"))))._tag, "CallPending")
      yield* Call.cancel(pending, { timeout: 0 })
      yield* Effect.flip(Call.join(pending))
      yield* Call.setSecurity(call, bindAs("alice"))
      yield* Call.release(call)
      assert.strictEqual((yield* Effect.flip(Call.setSecurity(call, undefined)))._tag, "InvalidAsyncHandle")
      assert.strictEqual((yield* Effect.flip(Call.security(call)))._tag, "InvalidAsyncHandle")
    }))

  it.effect("security: what is asked for before the call begins, what was agreed on afterwards", () =>
    Effect.gen(function* () {
      yield* serve("ncacn_memory:[who]")
      const security = Security.make({ provider: Negotiate.client, credentials: alice, level: "privacy" })
      const call = yield* Call.make(yield* Association.bind(IPlain, "ncacn_memory:[who]", { security }))
      const asked = { level: "privacy", provider: "Negotiate", mutual: false, headerSigning: false } as const
      assert.deepStrictEqual(yield* Call.security(call), asked)
      const pending = yield* Call.begin(call, "Who", "x")
      assert.deepStrictEqual(yield* Call.security(call), { ...asked, provider: "NTLM", headerSigning: true })
      yield* Call.join(pending)
      assert.deepStrictEqual(yield* Call.security(call), asked)
    }).pipe(Effect.provide(Memory.layer)))

  it.effect("security of a binding without a login: level none; in one process: privacy", () =>
    Effect.gen(function* () {
      yield* serve("ncacn_memory:[who]")
      const call = yield* Call.make(yield* Association.bind(Management.IManagement, "ncacn_memory:[who]"))
      const none = { level: "none", provider: undefined, mutual: false, headerSigning: false } as const
      assert.deepStrictEqual(yield* Call.security(call), none)
    }).pipe(Effect.provide(Memory.layer)))
})

describe("connections of a security that nobody uses any more", () => {
  /** A security of one user, with the sessions of its connections. */
  const watched = (user: string) => {
    const sessions: Array<Security.Session> = []
    const provider: Security.ClientProvider = {
      ...Ntlm.client,
      initiate: (options) =>
        Effect.map(Ntlm.client.initiate(options), (exchange) => ({
          step: (token) =>
            Effect.tap(exchange.step(token), ({ session }) =>
              Effect.sync(() => {
                if (session !== undefined) sessions.push(session)
              }))
        }))
    }
    const isOpen = () => {
      try {
        return Redacted.value(sessions.at(-1)!.sessionKey).length === 16
      } catch {
        return false
      }
    }
    return { security: Security.make({ provider, credentials: { user, password } }), sessions, isOpen }
  }
  const world = Effect.gen(function* () {
    yield* serve("ncacn_memory:[who]")
    const own = watched("alice")
    const association = yield* Association.make("ncacn_memory:[who]", { security: own.security })
    return { association, own, bind: (options = {}) => Association.bind(IPlain, association, options) }
  })
  const poolsOf = (association: Association.Association) =>
    (association as unknown as { readonly pools: ReadonlyMap<unknown, unknown> }).pools.size
  const wait = Effect.andThen(Effect.andThen(settle, TestClock.adjust("20 seconds")), settle)

  it.effect("a binding's, once it is closed: after 10 seconds without a call, and nothing of it is kept", () =>
    Effect.gen(function* () {
      const { association, bind, own } = yield* world
      yield* bind()
      for (let i = 0; i < 5; i++) {
        const other = watched("alice")
        const scope = yield* Scope.make()
        yield* Scope.provide(bind({ security: other.security }), scope)
        yield* wait
        assert.isTrue(other.isOpen(), "while the binding is open")
        yield* Scope.close(scope, Exit.void)
        assert.isTrue(other.isOpen(), "as soon as it is closed")
        yield* wait
        assert.isFalse(other.isOpen(), "some time later")
        assert.isAtMost(poolsOf(association), 2)
      }
      assert.isTrue(own.isOpen())
    }).pipe(Effect.scoped, Effect.provide(Memory.layer)))

  it.effect("a call object's: after 10 seconds without a call, and the next call logs in anew", () =>
    Effect.gen(function* () {
      const { bind } = yield* world
      const other = watched("alice")
      const call = yield* Call.make(yield* bind())
      yield* Call.setSecurity(call, other.security)
      for (const count of [1, 2]) {
        yield* Effect.flatMap(Call.begin(call, "Who", "x"), Call.join)
        assert.isTrue(other.isOpen())
        yield* wait
        assert.isFalse(other.isOpen())
        assert.lengthOf(other.sessions, count)
      }
    }).pipe(Effect.scoped, Effect.provide(Memory.layer)))

  it.effect("a call object's, on which a context handle lives: kept until the handle is closed", () =>
    Effect.gen(function* () {
      const { ends, manager } = yield* makeShelf
      const server = yield* Server.make([manager])
      yield* Endpoint.serve(server, "ncacn_memory:[shelf]", { security: [Ntlm.server(accounts)] })
      const binding = yield* Association.bind(IShelf, "ncacn_memory:[shelf]", { security: watched("alice").security })
      const other = watched("alice")
      const call = yield* Call.make(binding)
      yield* Call.setSecurity(call, other.security)
      const { box } = yield* Effect.flatMap(Call.begin(call, "Open", { text: "a" }), Call.join)
      yield* wait
      assert.deepStrictEqual(ends, [])
      assert.isTrue(other.isOpen())
      assert.strictEqual(yield* Effect.flatMap(Call.begin(call, "Use", { box, text: "b" }), Call.join), "b in a")
      yield* Effect.flatMap(Call.begin(call, "Close", { box }), Call.join)
      yield* wait
      assert.isFalse(other.isOpen())
    }).pipe(Effect.scoped, Effect.provide(Memory.layer)))

  it.effect("a call object's that begins behind the end of its association: 1722, and nobody logs in", () =>
    Effect.gen(function* () {
      yield* serve("ncacn_memory:[who]")
      const scope = yield* Scope.make()
      const association = yield* Scope.provide(Association.make("ncacn_memory:[who]"), scope)
      const call = yield* Call.make(yield* Association.bind(Management.IManagement, association))
      const other = watched("alice")
      yield* Call.setSecurity(call, other.security)
      yield* Scope.close(scope, Exit.void)
      const error = yield* Effect.flip(Call.begin(call, "is_server_listening"))
      assert.deepInclude(error, { _tag: "RpcTransportError", status: 1722 })
      assert.lengthOf(other.sessions, 0)
    }).pipe(Effect.scoped, Effect.provide(Memory.layer)))

  it.effect("a binding whose login failed: nothing of it is kept", () =>
    Effect.gen(function* () {
      const { association, bind } = yield* world
      const credentials = Effect.fail("the vault is sealed")
      for (let i = 0; i < 5; i++) {
        yield* Effect.flip(bind({ security: Security.make({ provider: Ntlm.client, credentials }) }))
      }
      yield* bind({ security: watched("alice").security })
      assert.isAtMost(poolsOf(association), 3)
    }).pipe(Effect.scoped, Effect.provide(Memory.layer)))
})

describe("a login that fails", () => {
  const failureOf = (security: Security.Security) =>
    Effect.gen(function* () {
      yield* serve("ncacn_memory:[who]")
      const error = yield* Effect.flip(Association.bind(IPlain, "ncacn_memory:[who]", { security }))
      if (error._tag !== "RpcFault") return assert.fail(error._tag)
      assert.isTrue(error.didNotExecute)
      return [error.code, error.detail] as const
    }).pipe(Effect.scoped, Effect.provide(Memory.layer))

  it.effect("a wrong user and a wrong password: the same code and the same words", () =>
    Effect.gen(function* () {
      const negotiate = (user: string, secret: Redacted.Redacted<string>) =>
        Security.make({ provider: Negotiate.client, credentials: { user, password: secret } })
      const user = yield* failureOf(negotiate("mallory", password))
      assert.deepStrictEqual(user, [5, "the server refused the user. Check the name, the domain and the password"])
      assert.deepStrictEqual(yield* failureOf(negotiate("alice", Redacted.make("wrong"))), user)
    }))

  it.effect("a server that must prove who it is, with NTLM: 1825", () =>
    Effect.gen(function* () {
      const [code] = yield* failureOf(Security.make({ provider: Ntlm.client, credentials: alice, mutual: true }))
      assert.strictEqual(code, 1825)
    }))

  it.effect("credentials that can't be had: 1749, and what went wrong", () =>
    Effect.gen(function* () {
      const credentials = Effect.fail("the vault is sealed")
      assert.deepStrictEqual(yield* failureOf(Security.make({ provider: Ntlm.client, credentials })), [
        1749,
        "the credentials can't be had: the vault is sealed"
      ])
    }))

  for (
    const [name, credentials, why] of [
      ["an effect that dies", Effect.die("hunter2"), "the effect that gives them died"],
      ["an effect that is interrupted", Effect.interrupt, "the effect that gives them died"],
      ["an effect that gives nothing", Effect.succeed(undefined as never), "they name no user"],
      ["a value without a user", { password } as never, "they name no user"],
      ["a domain that is no text", { user: "alice", domain: 5, password } as never, "their domain is no text"],
      [
        "a password that is not redacted",
        { user: "alice", password: "hunter2" } as never,
        "their password is not redacted. Make it with Redacted.make"
      ],
      [
        "a hash without a value",
        { user: "alice", ntHash: undefined } as never,
        "their ntHash is not redacted. Make it with Redacted.make"
      ],
      [
        "a password of bytes",
        { user: "alice", password: Redacted.make(new Uint8Array(16)) } as never,
        "their password holds no text"
      ],
      [
        "a hash of text",
        { user: "alice", ntHash: Redacted.make("hunter2hunter2hu") } as never,
        "their ntHash holds no bytes"
      ],
      ["an error that has no text", Effect.fail(Object.create(null)), "the effect that gives them failed"]
    ] as const
  ) {
    it.effect(`credentials that can't be had, ${name}: 1749, at once`, () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* failureOf(Security.make({ provider: Ntlm.client, credentials })), [
          1749,
          `the credentials can't be had: ${why}`
        ])
      }))
  }

  it.effect("a provider whose step is interrupted: 1825, at once", () =>
    Effect.gen(function* () {
      const provider = { ...Ntlm.client, initiate: () => Effect.succeed({ step: () => Effect.interrupt }) }
      assert.deepStrictEqual(yield* failureOf(Security.make({ provider, credentials: alice })), [
        1825,
        "the provider died"
      ])
    }))

  it.effect("a provider that fails, and dies when its scope closes: its failure, and no word of its death", () =>
    Effect.gen(function* () {
      const failed = new Security.LoginFailure({ reason: "refused", detail: "as asked" })
      const initiate = () => Effect.andThen(Effect.addFinalizer(() => Effect.die("hunter2")), Effect.fail(failed))
      const security = Security.make({ provider: { ...Ntlm.client, initiate }, credentials: alice })
      assert.deepStrictEqual(yield* failureOf(security), [5, "as asked"])
    }))

  it.effect("the next call after a refused login: logs in anew", () =>
    Effect.gen(function* () {
      yield* serve("ncacn_memory:[who]")
      const tried: Array<string> = []
      const secrets = [Redacted.make("wrong"), password]
      const credentials = Effect.sync(() => {
        tried.push("asked")
        return { user: "alice", password: secrets[Math.min(tried.length, 2) - 1]! }
      })
      const security = Security.make({ provider: Negotiate.client, credentials })
      const association = yield* Association.make("ncacn_memory:[who]", { security })
      yield* Effect.flip(Association.bind(IPlain, association))
      const binding = yield* Association.bind(IPlain, association)
      assert.include(yield* Call.invoke(binding, "Who", "x"), "alice")
      assert.include(yield* Call.invoke(binding, "Who", "y"), "alice")
      assert.strictEqual(tried.length, 2)
    }).pipe(Effect.provide(Memory.layer)))
})

describe("a manager that says nothing", () => {
  it.effect("at an endpoint with providers, without a login: 5, and the management interface answers", () =>
    Effect.gen(function* () {
      yield* serve("ncacn_memory:[who]")
      const binding = yield* Association.bind(IPlain, "ncacn_memory:[who]")
      const error = yield* Effect.flip(Call.invoke(binding, "Who", "x"))
      assert.deepInclude(error, { _tag: "RpcFault", code: 5, didNotExecute: false })
      const management = yield* Association.bind(Management.IManagement, "ncacn_memory:[who]")
      assert.strictEqual((yield* Call.invoke(management, "is_server_listening")).listening, 1)
    }).pipe(Effect.provide(Memory.layer)))
})

describe("Security.make", () => {
  for (
    const [name, options] of [
      ["level", { level: "packets" }],
      ["impersonation", { impersonation: "anyone" }],
      ["mutual", { mutual: "yes" }],
      ["headerSigning", { headerSigning: "sometimes" }],
      ["target", { target: "" }],
      ["provider", { provider: {} }],
      ["credentials", { credentials: undefined }]
    ] as const
  ) {
    it(`${name} out of its range: TypeError that names it`, () => {
      assert.throws(
        () => Security.make({ provider: Ntlm.client, credentials: alice, ...options } as never),
        TypeError,
        name
      )
    })
  }

  it("the level call: is asked for as packet", () => {
    assert.strictEqual(Security.make({ provider: Ntlm.client, credentials: alice, level: "call" }).level, "packet")
  })
})
