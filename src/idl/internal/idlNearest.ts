/**
 * Which known name was probably meant by one that is not known.
 */

/** Longer names are not compared. */
const longest = 64

/** How many names of one file get a suggestion, so that a file of slips costs no more than its size. */
const mostAsked = 64

/** How many slips a name of so many letters may have: a letter missing, added, changed, or two exchanged. */
const slipsOf = ({ length }: string): number => length < 3 ? 0 : length < 6 ? 1 : 2

/** Gives suggestions, a bounded number of them. */
export class Suggestions {
  private asked = 0

  /** The candidate that differs least; of several the first. Case does not count. */
  nearest(name: string, candidates: Iterable<string>): string | undefined {
    if (name.length > longest || this.asked++ >= mostAsked) return undefined
    const wanted = name.toLowerCase()
    let best: string | undefined
    let least = slipsOf(name) + 1
    for (const candidate of candidates) {
      if (candidate === name || Math.abs(candidate.length - name.length) >= least) continue
      const slips = slipsBetween(wanted, candidate.toLowerCase())
      if (slips < least) [best, least] = [candidate, slips]
    }
    return best
  }
}

const slipsBetween = (a: string, b: string): number => {
  let before: Array<number> = []
  let last = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const isSame = a[i - 1] === b[j - 1]
      const isExchanged = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      row.push(Math.min(
        last[j]! + 1,
        row[j - 1]! + 1,
        last[j - 1]! + (isSame ? 0 : 1),
        isExchanged ? before[j - 2]! + 1 : Infinity
      ))
    }
    before = last
    last = row
  }
  return last[b.length]!
}
