// Imports Effect, the core and the network, and prints how many milliseconds each has taken. Node and Bun import what npm has, Deno the
// sources, as it does from JSR.
import process from "node:process"

const isDeno = process.versions["deno"] !== undefined
const millis: { [step: string]: number } = {}
const steps = [["effect", "effect"], ["@callisto/rpc", isDeno ? "../mod.ts" : "../dist/mod.js"], [
  "@callisto/rpc/dcerpc",
  isDeno ? "../src/dcerpc.ts" : "../dist/src/dcerpc.js"
], ["@callisto/rpc/node", isDeno ? "../src/node.ts" : "../dist/src/node.js"]] as const
for (const [name, specifier] of steps) {
  const start = performance.now()
  await import(specifier)
  millis[name] = performance.now() - start
}
console.log(JSON.stringify(millis))
