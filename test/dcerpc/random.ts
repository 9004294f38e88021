/** What a seed decides. */

export type Random = () => number

/** The same numbers below 1 for the same seed. */
export const makeRandom = (seed: number): Random => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** From 0 to below `bound`. */
export const below = (random: Random, bound: number): number => Math.floor(random() * bound)

export const chance = (random: Random, probability: number): boolean => random() < probability

export const pick = <A>(random: Random, choices: ReadonlyArray<A>): A => choices[below(random, choices.length)]!
