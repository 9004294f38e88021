/**
 * What the demo asks of its platform: the files of a folder, piece by piece, and the width of the terminal.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** A file of a folder. */
export interface File {
  /** Its path within the folder. */
  readonly path: string
  readonly size: number
}

/** A file that is being read and hashed. */
export interface Reading {
  /** Reads at most so many bytes and gives their number, 0 at the end of the file. Fails with the code of the error. */
  readonly next: (atMost: number) => Effect.Effect<number, string>
  /** The SHA-256 of the bytes read, in hexadecimal. */
  readonly digest: Effect.Effect<string>
}

/** The platform of the demo. */
export interface Surroundings {
  /** The columns of the terminal. */
  readonly columns: number
  /** The name of a folder without the way to it. */
  readonly nameOf: (folder: string) => string
  /** The files of a folder and of the folders in it. Fails with a sentence that names the folder, without its full stop. */
  readonly list: (folder: string) => Effect.Effect<ReadonlyArray<File>, string>
  /** Opens a file of a folder. Fails with the code of the error. */
  readonly open: (folder: string, path: string) => Effect.Effect<Reading, string, Scope.Scope>
}

/** The platform of the demo; by default there are no files. */
export const Surroundings: Context.Reference<Surroundings> = Context.Reference<Surroundings>(
  "@callisto/rpc/cli/Surroundings",
  {
    defaultValue: () => ({
      columns: 80,
      nameOf: (folder) => folder,
      list: () => Effect.succeed([]),
      open: () => Effect.fail("ENOENT")
    })
  }
)
