/** The context handles that a client holds, and the groups of connections on which they live. */
import { assert, describe, it } from "@effect/vitest"
import { Exit } from "effect"
import { HeldHandles } from "../../src/dcerpc/internal/heldHandles.ts"
import { Handle } from "../../src/internal/handleSchema.ts"
import { fullOperation } from "../../src/internal/seams.ts"
import { IShelf } from "../shelf.ts"

const open = fullOperation(IShelf.operations.Open)

const uuid = "00112233-4455-6677-8899-aabbccddeeff"

describe("handles on two connections of a group", () => {
  const first = { groupId: 5, keeps: true }
  const second = { groupId: 5, keeps: true }
  const stranger = { groupId: 6, keeps: true }
  const make = () => {
    const connections = new Set([first, second, stranger])
    const held = new HeldHandles(connections, () => {})
    const take = (connection: typeof first) => {
      const out = { box: new Handle("Box", uuid) }
      held.receive(connection, open, {}, Exit.succeed(out))
      return out.box
    }
    const lose = (connection: typeof first) => {
      connections.delete(connection)
      held.lose(connection)
    }
    return { held, lose, take }
  }

  it("one connection is lost: the handle is still held", () => {
    const { held, lose, take } = make()
    const handle = take(first)
    lose(first)
    lose(stranger)
    assert.isTrue(held.areIn(5))
    assert.isTrue(held.need(second))
    assert.strictEqual(take(second), handle)
  })

  it("the last connection is lost: nothing of the handle is held", () => {
    const { held, lose, take } = make()
    const handle = take(first)
    lose(first)
    lose(second)
    assert.isFalse(held.areIn(5))
    assert.notStrictEqual(take(stranger), handle)
  })
})
