import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { ipFromString } from "effect/net/NetAddress"
import fc from "fast-check"
import * as StringBinding from "../../src/transport/StringBinding.ts"

const uuid = "5a7b91f8-ff00-11d0-a9b2-00c04fb6e6fc"

const parsed = (input: string) => Result.getOrThrow(StringBinding.parse(input))

const refusal = (input: string) => {
  const result = StringBinding.parse(input)
  if (Result.isSuccess(result)) throw new Error(`${input} was not refused`)
  return result.failure
}

describe("parse", () => {
  const good: ReadonlyArray<readonly [string, StringBinding.StringBinding]> = [
    ["ncacn_ip_tcp:", { protocol: "ncacn_ip_tcp", address: "", options: {} }],
    ["ncacn_ip_tcp:host", { protocol: "ncacn_ip_tcp", address: "host", options: {} }],
    ["ncacn_ip_tcp:host[]", { protocol: "ncacn_ip_tcp", address: "host", options: {} }],
    ["ncacn_ip_tcp:a.example.com.[135]", {
      protocol: "ncacn_ip_tcp",
      address: "a.example.com.",
      endpoint: "135",
      options: {}
    }],
    ["ncacn_ip_tcp:[0]", { protocol: "ncacn_ip_tcp", address: "", endpoint: "0", options: {} }],
    ["ncacn_ip_tcp:10.0.0.1[00135]", { protocol: "ncacn_ip_tcp", address: "10.0.0.1", endpoint: "135", options: {} }],
    ["ncacn_ip_tcp:::1[8765]", { protocol: "ncacn_ip_tcp", address: "::1", endpoint: "8765", options: {} }],
    ["ncacn_ip_tcp:\\:\\:1[8765]", { protocol: "ncacn_ip_tcp", address: "::1", endpoint: "8765", options: {} }],
    ["ncacn_ip_tcp:fe80::1%eth0[1]", {
      protocol: "ncacn_ip_tcp",
      address: "fe80::1%eth0",
      endpoint: "1",
      options: {}
    }],
    [`${uuid.toUpperCase()}@ncacn_ip_tcp:host`, {
      object: uuid,
      protocol: "ncacn_ip_tcp",
      address: "host",
      options: {}
    }],
    ["00000000-0000-0000-0000-000000000000@ncalrpc:[a]", {
      protocol: "ncalrpc",
      address: "",
      endpoint: "a",
      options: {}
    }],
    ["ncalrpc:[/run/app.sock]", { protocol: "ncalrpc", address: "", endpoint: "/run/app.sock", options: {} }],
    ["ncalrpc:[a@b:c]", { protocol: "ncalrpc", address: "", endpoint: "a@b:c", options: {} }],
    ["ncalrpc:[a\\]b\\,c\\=d\\\\e]", { protocol: "ncalrpc", address: "", endpoint: "a]b,c=d\\e", options: {} }],
    ["ncalrpc:[endpoint=a]", { protocol: "ncalrpc", address: "", endpoint: "a", options: {} }],
    ["ncacn_wss:host[443,path=/rpc,a=b\\]c]", {
      protocol: "ncacn_wss",
      address: "host",
      endpoint: "443",
      options: { path: "/rpc", a: "b]c" }
    }],
    ["ncacn_ws:host[,path=/rpc]", { protocol: "ncacn_ws", address: "host", options: { path: "/rpc" } }],
    ["ncacn_ws:host[path=]", { protocol: "ncacn_ws", address: "host", options: { path: "" } }]
  ]
  for (const [input, expected] of good) {
    it(`parse ${input}: takes it apart`, () => assert.deepStrictEqual(parsed(input), expected))
  }

  const bad: ReadonlyArray<readonly [string, number, number, string]> = [
    ["", 1700, 0, "a protocol sequence and a colon are missing"],
    ["host", 1700, 0, "a protocol sequence and a colon are missing"],
    [":host", 1700, 0, "a protocol sequence and a colon are missing"],
    [`${uuid}@:host`, 1700, 37, "a protocol sequence and a colon are missing"],
    ["nonsense@ncacn_ip_tcp:host", 1705, 0, `got "nonsense"`],
    ["@ncacn_ip_tcp:host", 1705, 0, `got ""`],
    ["ncacn_np:host[\\\\pipe\\\\a]", 1703, 0, "is not one of ncacn_ip_tcp, ncalrpc,"],
    [`${uuid}@tcp:host`, 1703, 37, `the protocol sequence "tcp"`],
    ["ncacn_ip_tcp:1.2.3.999", 1707, 13, `"1.2.3.999" is neither a host name nor an IP address`],
    ["ncacn_ip_tcp:1::2::3[1]", 1707, 13, "neither"],
    ["ncacn_ip_tcp:a b[1]", 1707, 13, "neither"],
    ["ncacn_ip_tcp:-a[1]", 1707, 13, "neither"],
    ["ncalrpc:host[a]", 1707, 8, `ncalrpc takes no address, got "host"`],
    ["ncacn_ip_tcp:host[http]", 1706, 18, `not a port from 0 to 65535, got "http"`],
    ["ncacn_ip_tcp:host[65536]", 1706, 18, `"65536"`],
    ["ncacn_ip_tcp:host[-1]", 1706, 18, `"-1"`],
    ["ncacn_ip_tcp:host[endpoint=x]", 1706, 27, `"x"`],
    ["ncacn_ip_tcp:[::1]", 1706, 14, "an IPv6 address is written without brackets"],
    ["ncacn_ip_tcp:[::1][135]", 1700, 18, "an IPv6 address is written without brackets"],
    ["ncalrpc:[a\0b]", 1706, 9, "NUL"],
    ["ncacn_ip_tcp:host[1", 1700, 17, "the [ is not closed"],
    ["ncacn_ip_tcp:host[1\\]", 1700, 17, "the [ is not closed"],
    ["ncacn_ip_tcp:host]", 1700, 17, "a ] without a [ before it"],
    ["ncacn_ip_tcp:host[1]x", 1700, 20, "nothing may follow the ]"],
    ["ncalrpc:[a\\", 1700, 10, "a backslash takes the next character"],
    ["ncalrpc:[a,b]", 1700, 11, "there is an endpoint already"],
    ["ncalrpc:[a,]", 1700, 11, "an option is missing between the commas"],
    ["ncalrpc:[a,__proto__=1]", 1724, 11, `no valid name, got "__proto__"`],
    ["ncalrpc:[a,=1]", 1724, 11, `no valid name, got ""`],
    ["ncalrpc:[a,x=1,x=2]", 1724, 15, "the option x is given twice"]
  ]
  for (const [input, status, position, words] of bad) {
    it(`parse ${JSON.stringify(input)}: ${status} at ${position}`, () => {
      const error = refusal(input)
      assert.strictEqual(error._tag, "StringBindingError")
      assert.strictEqual(error.status, status)
      assert.strictEqual(error.codes.rpcStatus?.number, status)
      assert.strictEqual(error.position, position)
      assert.include(error.message, words)
      assert.include(error.message, `at position ${position}: `)
    })
  }

  it("parse, numeric addresses: accepts the same texts as Effect", () => {
    const pieces = [":", ":", "::", ".", "0", "1", "ff", "fe80", "12345", "g", "192.0.2.1", "255", "256", "01"]
    const isHostName = (address: string) => /^[a-z0-9.]*[a-z][a-z0-9]*\.?$/.test(address)
    let taken = 0
    const isTaken = (address: string) => Result.isSuccess(StringBinding.parse(`ncacn_ip_tcp:${address}`))
    const address = fc.oneof(
      fc.array(fc.constantFrom(...pieces), { minLength: 1 }).map((all) => all.join("")),
      fc.array(fc.constantFrom("0", "1", "ff", "fe80"), { minLength: 1, maxLength: 9 }).map((all) => all.join(":")),
      fc.tuple(fc.ipV6(), fc.constantFrom(":", "::", "."), fc.ipV4()).map((all) => all.join("")),
      fc.ipV4(),
      fc.ipV6()
    ).filter((address) => !isHostName(address))
    fc.assert(
      fc.property(address, (address) => {
        const expected = Result.isSuccess(ipFromString(address))
        assert.strictEqual(isTaken(address), expected, address)
        if (expected) taken++
      }),
      { numRuns: 5000 }
    )
    assert.isAbove(taken, 500)
  })

  it("parse, any text: answers, and never throws", () => {
    const pieces = ["ncacn_ip_tcp", "ncalrpc", uuid, "@", ":", "[", "]", ",", "=", "\\", "1", "a", "\0", "::1"]
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.array(fc.constantFrom(...pieces)).map((all) => all.join(""))), (input) => {
        const result = StringBinding.parse(input)
        if (Result.isFailure(result)) {
          assert.isAtMost(result.failure.position, input.length)
        } else {
          assert.deepStrictEqual(parsed(StringBinding.print(result.success)), result.success)
        }
      }),
      { numRuns: 2000 }
    )
  })
})

describe("make and print", () => {
  it("make and print: give the canonical form", () => {
    const print = (parts: StringBinding.Parts) => StringBinding.print(Result.getOrThrow(StringBinding.make(parts)))
    assert.strictEqual(print({ protocol: "ncacn_ip_tcp" }), "ncacn_ip_tcp:")
    assert.strictEqual(print({ protocol: "ncacn_ip_tcp", address: "::1", endpoint: 8765 }), "ncacn_ip_tcp:::1[8765]")
    assert.strictEqual(
      print({ object: uuid.toUpperCase(), protocol: "ncalrpc", endpoint: "a]b" }),
      `${uuid}@ncalrpc:[a\\]b]`
    )
    assert.strictEqual(
      print({ protocol: "ncacn_ws", address: "h", options: { path: "/a=b" } }),
      "ncacn_ws:h[,path=/a\\=b]"
    )
  })

  it("make, parts that parse would refuse: refuses them", () => {
    const status = (parts: StringBinding.Parts) => {
      const result = StringBinding.make(parts)
      return Result.isFailure(result) ? result.failure.status : 0
    }
    assert.strictEqual(status({ protocol: "ncacn_ip_tcp", endpoint: 65536 }), 1706)
    assert.strictEqual(status({ protocol: "ncacn_ip_tcp", address: "a[1]" }), 1707)
    assert.strictEqual(status({ protocol: "ncacn_ip_tcp", address: "a", object: "1" }), 1705)
    assert.strictEqual(status({ protocol: "ncacn_ip_tcp", options: { "a,b": "1" } }), 1724)
  })

  it("make, print and parse: undo each other", () => {
    const name = fc.string({ minLength: 1, unit: "grapheme" }).filter((name) => !name.includes("\0"))
    const optionName = fc.stringMatching(/^[A-Za-z][A-Za-z0-9_-]{0,8}$/).filter((name) => name !== "endpoint")
    const local = fc.constantFrom("ncalrpc", "ncacn_memory", "ncacn_messageport").map((protocol) => ({ protocol }))
    const ip = fc.record({
      protocol: fc.constantFrom("ncacn_ip_tcp", "ncacn_ip_tls", "ncacn_ws", "ncacn_wss"),
      address: fc.oneof(fc.constant(""), fc.ipV4(), fc.ipV6(), fc.domain())
    })
    const common = {
      object: fc.option(fc.uuid(), { nil: undefined }),
      options: fc.dictionary(optionName, name, { noNullPrototype: true })
    }
    const parts = fc.oneof(
      fc.tuple(fc.record({ ...common, endpoint: fc.option(name, { nil: undefined }) }), local),
      fc.tuple(fc.record({ ...common, endpoint: fc.option(fc.nat(65535), { nil: undefined }) }), ip)
    ).map(([rest, where]) => ({ ...rest, ...where }) as StringBinding.Parts)
    fc.assert(
      fc.property(parts, (parts) => {
        const made = Result.getOrThrow(StringBinding.make(parts))
        assert.deepStrictEqual(parsed(StringBinding.print(made)), made)
        assert.strictEqual(made.endpoint, parts.endpoint?.toString())
        assert.deepStrictEqual(made.options, parts.options)
      }),
      { numRuns: 1000 }
    )
  })
})
