// Nagle's algorithm back on, for the sockets between processes that run and processes that begin calls.
import { syncBuiltinESMExports } from "node:module"
import net from "node:net"

/** Sockets that ask for `noDelay` when they are made no longer get it, until the undo. Those to the database use `net.connect`. */
export const useNagle = (): () => void => {
  const { createConnection, createServer } = net
  const without = (options: unknown) => typeof options === "object" ? { ...options, noDelay: false } : options
  const replace = (connection: unknown, server: unknown) => {
    Object.assign(net, { createConnection: connection, createServer: server })
    syncBuiltinESMExports()
  }
  const wrap = (make: unknown) => (options: unknown, ...rest: ReadonlyArray<unknown>) =>
    (make as (...args: ReadonlyArray<unknown>) => unknown)(without(options), ...rest)
  replace(wrap(createConnection), wrap(createServer))
  return () => replace(createConnection, createServer)
}
