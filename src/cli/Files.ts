/**
 * The files that the tool reads and writes, and standard input.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

/** What the tool asks of its platform. All fail with a sentence that names the file, without its full stop. */
export interface Files {
  /** The bytes of a file; of a folder, a device or a file that is too large none. */
  readonly read: (path: string) => Effect.Effect<Uint8Array, string>
  /** Finds a file of a folder by its name, in upper or lower case, and gives its path; `undefined` if the folder has none. */
  readonly find: (folder: string, name: string) => Effect.Effect<string | undefined>
  readonly write: (path: string, text: string) => Effect.Effect<void, string>
  /** All of standard input. */
  readonly stdin: Effect.Effect<Uint8Array, string>
  /** Runs a module and gives what it exports. */
  readonly load: (path: string) => Effect.Effect<{ readonly [name: string]: unknown }, string>
}

/** The most bytes of a file. */
export const maximumSize: number = 16 * 1024 * 1024

/** The files; by default there are none. */
export const Files: Context.Reference<Files> = Context.Reference<Files>("@callisto/rpc/cli/Files", {
  defaultValue: () => ({
    read: (path) => Effect.fail(`${path}: there are no files`),
    find: () => Effect.succeed(undefined),
    write: (path) => Effect.fail(`${path}: there are no files`),
    stdin: Effect.fail("standard input: there is none"),
    load: (path) => Effect.fail(`${path}: there are no modules`)
  })
})
