// Compares this checkout with another one: the rows of Callisto in the local table, without peers, in both, on Node.
//
//   node scripts/compare.mjs OTHER_CHECKOUT [--pairs 15] [--only local] [--rows TEXT]
//
// Each measurement has a process of its own; the two of a pair follow each other, and the other checkout is first in every second pair.
// A ratio is the calls a second of this checkout by those of the other in the same pair. Its interval is made of the order of the
// pairs, and holds the median with at least 95 %; it takes 6 pairs. A row is slower when the median ratio is below 0.95 and the whole
// interval below 1: then the script ends with 1. --rows measures only the rows whose names contain TEXT.
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { join, resolve } from "node:path"
import process from "node:process"
import { parseArgs } from "node:util"
import { findRuntime, leftOut, requireDependencies, root } from "./runtimes.mjs"

const refuse = (message) => {
  console.error(message)
  process.exit(2)
}

const usage = "node scripts/compare.mjs OTHER_CHECKOUT [--pairs 15] [--only local] [--rows TEXT]"
const parse = () => {
  try {
    const { positionals, values } = parseArgs({
      allowPositionals: true,
      options: {
        pairs: { type: "string", default: "15" },
        only: { type: "string", default: "local" },
        rows: { type: "string", default: "" }
      }
    })
    return {
      ...values,
      pairs: Number(values.pairs),
      checkouts: [root, ...positionals.map((path) => resolve(path))]
    }
  } catch (error) {
    return refuse(`${error.message}\n${usage}`)
  }
}
const { checkouts, only, pairs, rows } = parse()
if (checkouts.length !== 2) refuse(usage)
if (only !== "local") {
  refuse(`--only: unknown table, got ${only}, expected local`)
}
if (!Number.isInteger(pairs) || pairs < 1) {
  refuse("--pairs: expected a whole number from 1")
}

requireDependencies()
for (
  const path of [
    "bench/local.ts",
    "bench/compareWorker.ts",
    "node_modules/effect"
  ]
) {
  if (!existsSync(join(checkouts[1], path))) {
    refuse(`${checkouts[1]} has no ${path}. Run \`npm ci\` in a checkout.`)
  }
}
const node = findRuntime("node")
if (node === undefined) refuse(leftOut("node"))

const ask = (checkout, ...args) => {
  const worker = join(checkout, "bench", "compareWorker.ts")
  const { status, stderr, stdout } = spawnSync(node.command, [
    ...node.program,
    worker,
    ...args
  ], { encoding: "utf8" })
  if (status !== 0) {
    throw new Error(
      `${worker} ${args.join(" ")} ended with ${status}\n${stderr}`
    )
  }
  return JSON.parse(stdout)
}

const median = (values) => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = (sorted.length - 1) / 2
  return (sorted[Math.floor(middle)] + sorted[Math.ceil(middle)]) / 2
}

/** Which pair, from either end of their order, ends the interval: the median lies beyond it with at most 2.5 %. 0 for too few. */
const rankOfEnds = () => {
  let [chance, total, k] = [0.5 ** pairs, 0, 0]
  while ((total += chance) <= 0.025) chance *= (pairs - k) / ++k
  return k
}

const others = ask(checkouts[1])
const names = ask(root).filter((name) => name.includes(rows) && others.includes(name))
if (names.length === 0) {
  refuse(`--rows: no row of both has ${JSON.stringify(rows)} in its name`)
}

const measured = new Map(names.map((name) => [name, [[], []]]))
for (let pair = 0; pair < pairs; pair++) {
  for (const name of names) {
    for (const side of pair % 2 === 0 ? [0, 1] : [1, 0]) {
      measured.get(name)[side].push(ask(checkouts[side], name))
    }
  }
  console.error(`${pair + 1} of ${pairs} pairs`)
}

const k = rankOfEnds()
const slower = []
const cells = (name, by) => {
  const [own, other] = measured.get(name).map((values) => values.map((value) => value[by]))
  const ratios = own.map((rate, i) => rate / other[i]).sort((a, b) => a - b)
  const [low, high] = [ratios[k - 1], ratios[pairs - k]]
  const ratio = median(ratios)
  const isSlower = ratio < 0.95 && k > 0 && high < 1
  if (isSlower) slower.push(`${name} (${by})`)
  const interval = k === 0 ? "too few pairs" : `${low.toFixed(3)} to ${high.toFixed(3)}`
  const rates = [own, other].map((values) => Math.round(median(values)).toLocaleString("en-US"))
  return [
    ...rates,
    ratio.toFixed(3),
    isSlower ? `${interval}, slower` : interval
  ]
}

const header = [
  "a second",
  "by",
  "this checkout",
  "the other",
  "ratio",
  "95 % interval"
]
console.log(`
${node.title}, ${pairs} pairs

| ${header.join(" | ")} |
| --- | --- | ---: | ---: | ---: | --- |
${
  names.flatMap((name) =>
    [["wall", "the clock"], ["cpu", "the processor"]].map(([by, title]) =>
      `| ${[name, title, ...cells(name, by)].join(" | ")} |`
    )
  ).join("\n")
}

${k === 0 ? "Too few pairs to tell." : slower.length === 0 ? "No row is slower." : `Slower: ${slower.join("; ")}.`}`)
process.exitCode = slower.length === 0 ? 0 : 1
