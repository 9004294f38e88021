/**
 * The context handles that a client holds, and the connections that keep them alive.
 */
import * as Exit from "effect/Exit"
import type { Outcome } from "../../Channel.ts"
import { unreadable } from "../../internal/failures.ts"
import { Handle, valueOf } from "../../internal/handleSchema.ts"
import type { FullOperation } from "../../internal/seams.ts"

export const carriesHandle = ({ handlesIn }: FullOperation, input: unknown): boolean =>
  handlesIn !== undefined && handlesIn.some(({ name }) => valueOf(input, name) !== null)

/** A connection, as far as handles depend on it. */
interface Keeper {
  readonly groupId: number
  /** Whether the server may keep its handles. */
  readonly keeps: boolean
}

/** The context handles that the client holds, each with the group of connections on which it lives. */
export class HeldHandles<Connection extends Keeper> {
  private readonly held = new Map<string, { readonly handle: Handle; readonly groupId: number }>()
  private readonly connections: ReadonlySet<Connection>
  private readonly onDrop: () => void

  constructor(connections: ReadonlySet<Connection>, onDrop: () => void) {
    this.connections = connections
    this.onDrop = onDrop
  }

  /** Takes the handles of a reply. One that the client has already is the same value again. */
  receive({ groupId }: Connection, operation: FullOperation, input: unknown, outcome: Outcome): Outcome {
    if (outcome._tag === "Failure") return outcome
    const out = outcome.value as Record<string, unknown>
    for (const { name, nullable } of operation.handlesOut!) {
      const handle = out[name] as Handle | null
      if (handle === null && !nullable) {
        return Exit.fail(unreadable(`\`${name}\` is a null context handle, expected a handle`))
      }
      const earlier = valueOf(input, name)
      if (earlier instanceof Handle && earlier.uuid !== handle?.uuid) this.drop(earlier)
      if (handle === null) continue
      const known = this.held.get(handle.uuid)?.handle
      if (known === undefined) this.hold(handle, groupId)
      else out[name] = known
    }
    return outcome
  }

  private hold(handle: Handle, groupId: number): void {
    this.held.set(handle.uuid, { handle, groupId })
    handle.keptBy(() => this.drop(handle))
  }

  private drop({ uuid }: Handle): void {
    this.held.delete(uuid)
    this.onDrop()
  }

  /** Whether handles would be run down if a connection were closed, because no other one of its group goes on. */
  need(connection: Connection): boolean {
    return this.areIn(connection.groupId) && !this.others(connection).some(({ keeps }) => keeps)
  }

  /** A connection is gone, and if it was the last one of its group its handles are too. */
  lose(connection: Connection): void {
    if (this.others(connection).length > 0) return
    for (const [uuid, { groupId }] of this.held) if (groupId === connection.groupId) this.held.delete(uuid)
  }

  /** Whether handles live on a group of connections. */
  areIn(groupId: number): boolean {
    for (const held of this.held.values()) if (held.groupId === groupId) return true
    return false
  }

  private others(connection: Connection): Array<Connection> {
    return [...this.connections].filter((other) => other !== connection && other.groupId === connection.groupId)
  }
}
