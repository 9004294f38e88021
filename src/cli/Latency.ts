/**
 * Latencies as they are measured, in memory that does not grow with their number.
 */

// One percent from one bucket to the next, so that a quantile is that close to a latency that was measured.
const growth = Math.log(1.01)

/** What is shorter is counted as this, a tenth of a microsecond. */
const shortest = 0.0001

/** Latencies in milliseconds. */
export class Latency {
  count: number = 0
  min: number = Infinity
  max: number = 0
  readonly #buckets = new Map<number, { count: number; sum: number }>()
  readonly #bars = new Map<number, number>()

  add(millis: number): void {
    this.count++
    this.min = Math.min(this.min, millis)
    this.max = Math.max(this.max, millis)
    const known = Math.max(millis, shortest)
    const index = Math.floor(Math.log(known) / growth)
    const bucket = this.#buckets.get(index)
    if (bucket === undefined) this.#buckets.set(index, { count: 1, sum: millis })
    else {
      bucket.count++
      bucket.sum += millis
    }
    const bar = barOf(known)
    this.#bars.set(bar, this.in(bar) + 1)
  }

  /** The latency that this part of them does not exceed, from 0 to 1. */
  quantile(part: number): number {
    const rank = Math.max(1, Math.ceil(part * this.count))
    if (rank === 1) return this.min
    if (rank === this.count) return this.max
    let seen = 0
    for (const [, { count, sum }] of [...this.#buckets].sort(([a], [b]) => a - b)) {
      seen += count
      if (seen >= rank) return sum / count
    }
    return this.max
  }

  /** The number of latencies in the bar of that index. */
  in(bar: number): number {
    return this.#bars.get(bar) ?? 0
  }

  /** The indexes of the bars that are not empty. */
  get bars(): ReadonlyArray<number> {
    return [...this.#bars.keys()]
  }
}

const steps = [1, 2, 5]

/** Bar 0 begins at 1 ms; there are three to each power of ten. */
const barOf = (millis: number): number => {
  // One more than the logarithm says, for what it rounds up.
  for (let bar = 3 * Math.floor(Math.log10(millis)) + 3;; bar--) if (barStart(bar) <= millis) return bar
}

/** Where a bar begins, in milliseconds. */
export const barStart = (bar: number): number => {
  const power = Math.floor(bar / 3)
  const step = steps[bar - 3 * power]!
  return power < 0 ? step / 10 ** -power : step * 10 ** power
}

/** A duration for people, with three digits. */
export const showMillis = (millis: number): string => {
  const [value, unit] = millis < 1 ? [millis * 1000, "µs"] : millis < 1000 ? [millis, "ms"] : [millis / 1000, "s"]
  return `${Number(value.toPrecision(3))} ${unit}`
}
