import { assert, describe, it } from "@effect/vitest"
import { Duration } from "effect"
import { countOption, durationOption, flagOption } from "../../src/internal/options.ts"

const messageOf = (check: () => unknown): string => {
  try {
    check()
  } catch (error) {
    assert.instanceOf(error, TypeError)
    return error.message
  }
  return assert.fail("nothing was refused")
}

/** No operator takes it. */
const hostile = {
  get seconds() {
    throw new Error("no seconds")
  },
  [Symbol.toPrimitive]: () => {
    throw new Error("no primitive")
  }
}

describe("a duration option", () => {
  const read = (value: Duration.Input | undefined, least?: number) =>
    durationOption("Server.make", "maximumAge", value, 5000, least)

  it("missing duration: reads the default", () => {
    assert.strictEqual(read(undefined), 5000)
  })

  it("duration of 0, of 30 days or without end: means what it reads", () => {
    for (const none of [0, Duration.zero, { seconds: 0 }, [0, 0]] as const) assert.strictEqual(read(none), 0)
    assert.strictEqual(read("30 days"), 2_592_000_000)
    for (const endless of [Infinity, "Infinity", Duration.infinity] as const) {
      assert.strictEqual(read(endless), Infinity)
    }
    assert.strictEqual(read({ seconds: 1 }), 1000)
    assert.strictEqual(read(2n), 0.000002)
  })

  it("duration that is no number, negative or no duration: is refused by name, value and range", () => {
    assert.strictEqual(
      messageOf(() => read(NaN)),
      "Server.make: maximumAge is out of range, got NaN, expected a duration of at least 0 ms. (InvalidArgument)"
    )
    for (
      const wrong of [
        -1,
        "-1 second",
        -Infinity,
        "-Infinity",
        Duration.millis(-1),
        "soon",
        null,
        true,
        [],
        {},
        {
          milis: 5
        },
        Symbol("soon"),
        hostile
      ]
    ) {
      assert.include(messageOf(() => read(wrong as never)), "maximumAge is out of range, got ")
    }
  })

  it("duration with a part that is no number: is refused, whatever the other parts", () => {
    for (const wrong of [[NaN, 0], [0, NaN], { hours: 0, seconds: NaN }, { minutes: NaN, seconds: 5 }] as const) {
      assert.include(messageOf(() => read(wrong)), "maximumAge is out of range, got ")
    }
  })

  it("duration below the least one: is refused", () => {
    assert.strictEqual(read(1, 1), 1)
    assert.include(messageOf(() => read(0, 1)), "got 0, expected a duration of at least 1 ms")
  })
})

describe("a count option", () => {
  const read = (value: number | undefined, range: { min?: number; max?: number } = {}) =>
    countOption("Endpoint.make", "maximumCalls", value, range, 1024)

  it("missing count: reads the default", () => {
    assert.strictEqual(read(undefined), 1024)
  })

  it("count at the ends of its range: means what it reads", () => {
    assert.strictEqual(read(0), 0)
    assert.strictEqual(read(Infinity), Infinity)
    assert.strictEqual(read(1, { min: 1, max: 64 }), 1)
    assert.strictEqual(read(64, { min: 1, max: 64 }), 64)
  })

  it("count outside of its range or no integer: is refused by name, value and range", () => {
    assert.strictEqual(
      messageOf(() => read(65, { min: 1, max: 64 })),
      "Endpoint.make: maximumCalls is out of range, got 65, expected an integer from 1 to 64. (InvalidArgument)"
    )
    for (const wrong of [0, -1, 1.5, NaN, Infinity, -Infinity, "8", null, 8n, Symbol("8"), hostile]) {
      assert.include(messageOf(() => read(wrong as never, { min: 1, max: 64 })), "maximumCalls is out of range")
    }
    for (const wrong of [-1, 0.5, NaN, -Infinity]) messageOf(() => read(wrong))
  })
})

describe("a choice option", () => {
  it("a value outside of the choices: the refusal prints the value as the program wrote it", () => {
    const read = (value: unknown) => messageOf(() => flagOption("Binding to Files", "causal", value as boolean, true))
    assert.strictEqual(
      read("no"),
      'Binding to Files: causal is out of range, got "no", expected one of [true,false]. (InvalidArgument)'
    )
    for (
      const [wrong, text] of [[() => false, "() => false"], [Symbol("no"), "Symbol(no)"], [0n, "0n"], [NaN, "NaN"]]
    ) {
      assert.include(read(wrong), `got ${String(text)}, expected`)
    }
    assert.include(read(hostile), "causal is out of range, got ")
  })
})
