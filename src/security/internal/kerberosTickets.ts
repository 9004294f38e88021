/** Keeps the tickets of users until shortly before they end. */
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import { failure } from "./kerberosContext.ts"
import type { GrantingTicket, HeldTicket, Kdc, Secret } from "./kerberosKdc.ts"
import type { Keys } from "./kerberosKeys.ts"
import { type Principal, printPrincipal } from "./kerberosMessages.ts"
import type { LoginFailure } from "../Security.ts"

/** A user who asks for tickets. */
export interface User {
  /** Tells users with different secrets apart, without the secret. */
  readonly id: string
  readonly principal: Principal
  readonly realm: string
  readonly secret: Secret
}

interface Shelf {
  /** One request at a time. */
  readonly turn: Semaphore.Semaphore
  granting: GrantingTicket | undefined
  readonly services: Map<string, HeldTicket>
}

/** A ticket that ends sooner is not used: the login and the first calls would race with its end. */
const margin = 5 * 60_000

const maxUsers = 256
const maxServices = 256

export class Tickets {
  readonly #kdc: Kdc
  readonly #keys: Keys
  readonly #shelves = new Map<string, Shelf>()

  constructor(kdc: Kdc, keys: Keys) {
    this.#kdc = kdc
    this.#keys = keys
  }

  /** The ticket of a service for a user. Its key belongs to the caller, who wipes it. */
  readonly get = (user: User, service: Principal): Effect.Effect<HeldTicket, LoginFailure> =>
    Effect.suspend(() => {
      const shelf = this.#shelfOf(user.id)
      return shelf.turn.withPermit(Effect.map(this.#fetch(user, service, shelf), (ticket) => ({
        ...ticket,
        key: this.#keys.make(ticket.key.etype, ticket.key.bytes)!
      })))
    })

  readonly #fetch = (user: User, service: Principal, shelf: Shelf): Effect.Effect<HeldTicket, LoginFailure> =>
    Effect.gen({ self: this }, function* () {
      const name = printPrincipal(service).toLowerCase()
      const now = yield* this.#kdc.now
      const held = shelf.services.get(name)
      if (held !== undefined) {
        if (held.endtime - margin > now) return held
        drop(shelf.services, name)
      }
      for (let attempt = 0; attempt < 2; attempt++) {
        const ticket = yield* this.#kdc.service(yield* this.#granting(user, shelf), service)
        if (ticket !== "expired") {
          keep(shelf.services, name, ticket, maxServices, (old) => drop(shelf.services, old))
          return ticket
        }
        forget(shelf)
      }
      return yield* failure("unavailable", "Kerberos: the key distribution centre takes its own new ticket for expired")
    })

  readonly #granting = (user: User, shelf: Shelf): Effect.Effect<GrantingTicket, LoginFailure> =>
    Effect.gen({ self: this }, function* () {
      const now = yield* this.#kdc.now
      if (shelf.granting !== undefined && shelf.granting.endtime - margin > now) return shelf.granting
      forget(shelf)
      return shelf.granting = yield* this.#kdc.firstTicket(user.principal, user.realm, user.secret)
    })

  #shelfOf(id: string): Shelf {
    const known = this.#shelves.get(id)
    if (known !== undefined) return known
    const shelf: Shelf = { turn: Semaphore.makeUnsafe(1), granting: undefined, services: new Map() }
    keep(this.#shelves, id, shelf, maxUsers, (old) => this.#discard(old))
    return shelf
  }

  #discard(id: string): void {
    const shelf = this.#shelves.get(id)!
    this.#shelves.delete(id)
    clear(shelf)
  }

  /** Forgets all tickets and overwrites their keys. */
  wipe(): void {
    for (const id of [...this.#shelves.keys()]) this.#discard(id)
  }
}

/** Adds to a map of bounded size; the oldest goes. */
const keep = <A>(map: Map<string, A>, id: string, value: A, max: number, discard: (id: string) => void): void => {
  map.set(id, value)
  if (map.size > max) discard(map.keys().next().value!)
}

const drop = (services: Map<string, HeldTicket>, name: string): void => {
  services.get(name)?.key.wipe()
  services.delete(name)
}

const forget = (shelf: Shelf): void => {
  shelf.granting?.key.wipe()
  shelf.granting = undefined
}

const clear = (shelf: Shelf): void => {
  forget(shelf)
  for (const name of [...shelf.services.keys()]) drop(shelf.services, name)
}
