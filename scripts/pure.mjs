import { readFileSync } from "node:fs"

/**
 * Marks the calls that make a module's constants as free of side effects, so that bundlers drop those that a program does not use.
 * A module's constants are what begins in a line's first column; whatever else it calls when it is loaded stays as it is.
 */
export const markPure = (code) =>
  code.replace(/^((?:export )?const [\w$]+ = )(?=(?:new )?[\w$.]+\()/gm, "$1/* @__PURE__ */ ")

/** A plugin of esbuild that takes the sources of the library, marked as its build marks them. */
export const pureSources = {
  name: "pure sources",
  setup: ({ esbuild, onLoad }) => {
    onLoad({ filter: /[\\/]src[\\/].*\.ts$|[\\/]mod\.ts$/ }, async ({ path }) => {
      const { code } = await esbuild.transform(readFileSync(path, "utf8"), { loader: "ts", target: "es2024" })
      return { contents: markPure(code) }
    })
  }
}
