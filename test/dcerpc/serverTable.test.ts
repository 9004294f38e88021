/** The life of a connection at the server: what each event does in each state. */
import { assert, describe, it } from "@effect/vitest"
import { type Event, serverTable, State } from "../../src/dcerpc/internal/connection.ts"

type Name = keyof typeof State

/** The state after each event, from `opening`, `open`, `draining`, `lingering` and `closed`. Without a name it stays. */
const cells: { readonly [E in Event]?: readonly [Name?, Name?, Name?, Name?, Name?] } = {
  agreed: ["open"],
  refused: ["draining", "lingering", "lingering"],
  truncated: ["lingering", "lingering", "lingering"],
  callLost: [, "lingering", "lingering"],
  shutdownAsked: ["closed", "draining"],
  idle: ["closed", "closed"],
  lastCallEnded: [, , "lingering"],
  lastHandleGone: [, , , "closed"],
  writeFailed: ["closed", "closed", "closed", "closed"],
  silent: ["closed", "closed", "closed", "closed"],
  outOfTime: ["closed", "closed", "closed", "closed"],
  closedByPeer: ["lingering", "lingering", "lingering", "closed"],
  connected: [],
  orphaned: [],
  shutdownHeard: []
}

const nameOf = (state: State | undefined): Name | undefined =>
  (Object.keys(State) as Array<Name>).find((name) => State[name] === state)

describe("a connection of a server", () => {
  for (const [index, { next, state, takesCalls }] of serverTable.entries()) {
    it(`${state}: its row is the one of its state`, () => {
      assert.strictEqual(State[state], index)
      assert.strictEqual(takesCalls, state === "open")
      for (const event of Object.keys(next)) assert.property(cells, event)
    })
    for (const [event, row] of Object.entries(cells)) {
      const expected = row[index]
      it(`${state}, ${event}: ${expected === undefined ? "stays" : `becomes ${expected}`}`, () => {
        assert.strictEqual(nameOf(next[event as Event]), expected)
      })
    }
  }
})
