// The interface that log_tail_server.ts serves and log_tail_client.ts calls: an out pipe that has no end of its own.
import { Schema } from "effect"
import { Interface } from "@callisto/rpc"

export class NotReadable extends Schema.TaggedError<NotReadable>()("NotReadable", {
  name: Schema.String,
  reason: Schema.String
}) {
  override get message(): string {
    return `${this.name}: ${this.reason}`
  }
}

export const ILogs = Interface.make("ILogs", {
  methods: {
    /** Sends the last lines of a file, then each line that is appended to it. */
    Follow: Interface.method({
      in: { name: Schema.String, last: Schema.Int },
      outPipe: { lines: Schema.String },
      aborts: [NotReadable]
    })
  }
})
