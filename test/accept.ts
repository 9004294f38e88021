/** Calls that a test hands to `Server.accept` itself. */
import { Deferred, type Effect, type Scope } from "effect"
import { type Channel, Server } from "../mod.ts"

export interface Arrival {
  readonly incoming: Channel.Incoming
  /** What happened to the call, in order. */
  readonly log: Array<string>
  /** The outcome that the host was given. */
  readonly outcome: Deferred.Deferred<unknown, unknown>
  /** The server's side of the call, once it was accepted. */
  remote: Channel.Remote | undefined
}

/** A client of a server, whose calls the test sees from the host's side. */
export const makeClient = (server: Server.Server): Effect.Effect<Channel.Origin, never, Scope.Scope> =>
  Server.client(server, { caller: { name: "alice", level: "connect" }, peer: "test" })

/** A call of that client. `reply` is what follows the record of the reply. */
export const arrivalOf = (
  fields:
    & Pick<Channel.Incoming, "origin" | "interface">
    & Partial<Omit<Channel.Incoming, "reply">>
    & { readonly reply?: ReturnType<Channel.Incoming["reply"]>; readonly log?: Array<string> }
): Arrival => {
  const log = fields.log ?? []
  const arrival: Arrival = {
    log,
    outcome: Deferred.makeUnsafe(),
    remote: undefined,
    incoming: {
      object: undefined,
      opnum: 0,
      input: undefined,
      ...fields,
      decode: (operation) => {
        log.push("decode")
        return fields.decode?.(operation)
      },
      accepted: (remote) => {
        log.push("accepted")
        arrival.remote = remote
      },
      reply: (outcome) => {
        log.push("reply")
        Deferred.doneUnsafe(arrival.outcome, outcome)
        return fields.reply
      },
      disconnected: () => void log.push("disconnected")
    }
  }
  return arrival
}
