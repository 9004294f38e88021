// The interface of transfer_server.ts, which transfer_client.ts calls: files of any size go through pipes.
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
    // The content goes through the pipe, what became of it is the result.
    Put: Interface.method({ in: { name }, inPipe: { content: Pipe.bytes }, out: { size, sha256 }, aborts }),
    // The result comes when the pipe is through.
    Get: Interface.method({ in: { name }, outPipe: { content: Pipe.bytes }, out: { size, sha256 }, aborts })
  }
})
