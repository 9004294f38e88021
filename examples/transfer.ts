// The interface that transfer_server.ts serves and transfer_client.ts calls: files of any size go through pipes.
import { Schema } from "effect"
import { Interface, Pipe } from "@callisto/rpc"

export class NoFile extends Schema.TaggedError<NoFile>()("NoFile", { name: Schema.String, reason: Schema.String }) {
  override get message(): string {
    return `${this.name}: ${this.reason}`
  }
}

const name = Schema.String
const size = Schema.Int
const sha256 = Schema.String
const aborts = [NoFile]

export const ITransfer = Interface.make("ITransfer", {
  methods: {
    List: Interface.method({ out: Schema.Array(Schema.Struct({ name, size })), aborts }),
    // The pipe carries the content of the file. The result says what the server has stored.
    Put: Interface.method({ in: { name }, inPipe: { content: Pipe.bytes }, out: { size, sha256 }, aborts }),
    // The result comes after the pipe has ended.
    Get: Interface.method({ in: { name }, outPipe: { content: Pipe.bytes }, out: { size, sha256 }, aborts })
  }
})
