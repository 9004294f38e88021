/** Remembers requests, so that a copy of one is refused. */

const maxRequests = 65_536

/**
 * Remembers requests for a time. Of more than 65,536 the oldest are forgotten: a copy does not complete a login without the key in
 * its ticket.
 */
export class ReplayCache {
  readonly #seen = new Map<string, number>()
  readonly #lifetime: number

  constructor(lifetime: number) {
    this.#lifetime = lifetime
  }

  get size(): number {
    return this.#seen.size
  }

  /** Whether the request did not come before. It has come then. */
  readonly isNew = (request: string, now: number): boolean => {
    for (const [old, until] of this.#seen) {
      if (until > now && this.#seen.size < maxRequests) break
      this.#seen.delete(old)
    }
    if (this.#seen.has(request)) return false
    this.#seen.set(request, now + this.#lifetime)
    return true
  }
}
