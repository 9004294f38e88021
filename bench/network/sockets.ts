// TCP on this machine.
import { Effect } from "effect"
import * as net from "node:net"
import process from "node:process"

export const serve = (
  accept: (conn: net.Socket) => void
): Effect.Effect<number> =>
  Effect.callback<number>((resume) => {
    const server = net.createServer({ noDelay: true }, (conn) => {
      conn.on("error", () => conn.destroy())
      accept(conn)
    })
    server.listen(0, "127.0.0.1", () => resume(Effect.succeed((server.address() as net.AddressInfo).port)))
  })

export const dial = (port: number): Effect.Effect<net.Socket, Error> =>
  Effect.callback((resume) => {
    const conn = net.connect({ host: "127.0.0.1", port, noDelay: true })
    conn.once("connect", () => resume(Effect.succeed(conn)))
    conn.once("error", (error) => resume(Effect.fail(error)))
  })

/** Messages as lines. Those of one turn are written at once, when the promises that they have settled are through. */
export const lines = (
  conn: net.Socket,
  receive: (line: string) => void
): (line: string) => void => {
  let incoming = ""
  let outgoing = ""
  conn.setEncoding("utf8")
  conn.on("data", (text: string) => {
    const all = (incoming + text).split("\n")
    incoming = all.pop()!
    for (const line of all) receive(line)
  })
  return (line) => {
    if (outgoing === "") {
      process.nextTick(() => {
        conn.write(outgoing)
        outgoing = ""
      })
    }
    outgoing += line + "\n"
  }
}
