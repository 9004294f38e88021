// The interface that files_server.ts serves and files_client.ts calls. Its schemas are ordinary ones, so they travel in Callisto's
// own transfer syntax: dates, options, unions, classes, and errors with their fields.
import { Schema } from "effect"
import { Interface } from "@callisto/rpc"

export class NotReadable extends Schema.TaggedError<NotReadable>()("NotReadable", {
  path: Schema.String,
  reason: Schema.String
}) {}

export class Entry extends Schema.Class<Entry>("Entry")({
  name: Schema.String,
  modified: Schema.Date,
  is: Schema.Union([
    Schema.TaggedStruct("File", { size: Schema.Int }),
    Schema.TaggedStruct("Folder", {}),
    Schema.TaggedStruct("Other", {})
  ])
}) {
  get size(): number {
    return this.is._tag === "File" ? this.is.size : 0
  }
}

const Hit = Schema.Struct({ path: Schema.String, line: Schema.Int, text: Schema.String })

/** The progress of a search. */
export const Progress = Schema.Struct({ files: Schema.Int, bytes: Schema.Int, path: Schema.Option(Schema.String) })

const aborts = [NotReadable]

// Paths are relative to the folder that the server serves.
export const IFiles = Interface.make("IFiles", {
  methods: {
    List: Interface.method({ in: { path: Schema.String }, out: Schema.Array(Entry), aborts }),
    Hash: Interface.method({ in: { path: Schema.String }, out: { sha256: Schema.String, size: Schema.Int }, aborts }),
    // The client names the search, and asks for its progress by that name.
    Search: Interface.method({
      in: { search: Schema.String, path: Schema.String, text: Schema.String, limit: Schema.Option(Schema.Int) },
      out: Schema.Array(Hit),
      aborts
    }),
    Progress: Interface.method({ in: { search: Schema.String }, out: Schema.Option(Progress) })
  }
})
