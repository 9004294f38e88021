/** A proxy in front of a database, which loses connections or falls silent when it is told to. */
import { Effect, type Scope } from "effect"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"

export interface Proxy {
  readonly port: number
  /** Ends all connections, and refuses new ones until it is opened. */
  readonly cut: Effect.Effect<void>
  /** Passes nothing on, in either direction, until it is opened. */
  readonly silence: Effect.Effect<void>
  readonly open: Effect.Effect<void>
  /** Passes nothing on any more over the connections that there are. New ones work. */
  readonly strand: Effect.Effect<void>
}

export const makeProxy = (target: number): Effect.Effect<Proxy, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Proxy & { readonly close: Effect.Effect<void> }>((resume) => {
      const sockets = new Set<Socket>()
      const stranded = new Set<Socket>()
      let state: "open" | "cut" | "silent" = "open"
      const end = () => {
        for (const socket of [...sockets, ...stranded]) socket.destroy()
      }
      const server = createServer({ noDelay: true }, (near) => {
        if (state === "cut") return void near.destroy()
        const far = connect({ host: "127.0.0.1", port: target, noDelay: true })
        for (const [socket, other] of [[near, far], [far, near]] as const) {
          sockets.add(socket)
          socket.on("data", (chunk) => void other.write(chunk))
          socket.on("error", () => {})
          socket.on("close", () => {
            sockets.delete(socket)
            stranded.delete(socket)
            other.destroy()
          })
          // Reading starts with the listener above.
          if (state === "silent") socket.pause()
        }
      })
      server.listen(0, "127.0.0.1", () =>
        resume(Effect.succeed({
          port: (server.address() as AddressInfo).port,
          cut: Effect.sync(() => {
            state = "cut"
            end()
          }),
          silence: Effect.sync(() => {
            state = "silent"
            for (const socket of sockets) socket.pause()
          }),
          open: Effect.sync(() => {
            state = "open"
            for (const socket of sockets) socket.resume()
          }),
          strand: Effect.sync(() => {
            for (const socket of sockets) stranded.add(socket.pause())
            sockets.clear()
          }),
          close: Effect.sync(() => {
            end()
            server.close()
          })
        })))
    }),
    ({ close }) => close
  )
