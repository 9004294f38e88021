/**
 * The inspector on the network: it answers on this machine alone, and to those alone who have the token.
 */
import type { Buffer } from "node:buffer"
import { createHash, timingSafeEqual } from "node:crypto"
import * as http from "node:http"
import type { Socket } from "node:net"
import { CantCreateEndpoint } from "../../Status.ts"
import { maximumViewers, type Message } from "./feed.ts"
import type { Ledger } from "./ledger.ts"
import * as page from "./page.ts"

/** How long a viewer may be behind, in milliseconds. */
const patience = 10_000

/** How many bytes may wait for a viewer before it counts as behind. */
const maximumBehind = 1 << 20

const maximumConnections = 64

const headers: { readonly [name: string]: string } = {
  "Cache-Control": "no-store",
  "Content-Security-Policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
  "X-Frame-Options": "DENY"
}

/** The files that every program on this machine may load: they are the same for all and hold no data. */
const files: { readonly [path: string]: readonly [type: string, text: () => string] } = {
  "/": ["text/html; charset=utf-8", () => page.html],
  "/inspector.css": ["text/css; charset=utf-8", () => page.style],
  "/inspector.js": ["text/javascript; charset=utf-8", () => page.script],
  "/icon.svg": ["image/svg+xml", () => page.icon]
}

/** A viewer. */
interface Viewer {
  readonly response: http.ServerResponse
  /** Since when it does not read what it was sent. */
  behindSince: number | undefined
}

export interface ListenerOptions {
  readonly host: string
  readonly port: number
  readonly token: string
  readonly ledger: Ledger
  readonly hello: Message & { readonly type: "hello" }
  /** The time of the program, in milliseconds. */
  readonly now: () => number
  /** Somebody looks, or nobody does any more. */
  readonly onLooking: (looks: boolean) => void
}

const line = (message: Message): string => `${JSON.stringify(message)}\n`

const digest = (text: string): Buffer => createHash("sha256").update(text).digest()

/** Whether a `Host` names this machine. Any port will do, for a tunnel has one of its own. */
const isLocal = (host: string | undefined): boolean =>
  host !== undefined && /^(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?$/i.test(host)

export class Listener {
  readonly #options: ListenerOptions
  readonly #digest: Buffer
  readonly #server: http.Server
  readonly #sockets = new Set<Socket>()
  readonly #viewers = new Set<Viewer>()

  constructor(options: ListenerOptions) {
    this.#options = options
    this.#digest = digest(options.token)
    this.#server = http.createServer({ headersTimeout: 10_000, requestTimeout: 10_000 }, (request, response) => {
      this.#answer(request, response)
    })
    this.#server.maxConnections = maximumConnections
    this.#server.keepAliveTimeout = 5000
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket)
      socket.on("close", () => this.#sockets.delete(socket))
      socket.on("error", () => {})
    })
    this.#server.on("clientError", (_, socket) => void socket.destroy())
  }

  /** Listens, and gives the port. */
  listen(done: (result: number | CantCreateEndpoint) => void): void {
    const { host, port } = this.#options
    const failed = (error: unknown) => {
      const { code, message } = error as { readonly code?: string; readonly message: string }
      const inUse = code === "EADDRINUSE"
      const detail = inUse ? `port ${port} of ${host} is in use, so the inspector needs another port` : message
      done(new CantCreateEndpoint({ status: inUse ? 1740 : 1720, detail }))
    }
    this.#server.once("error", failed)
    try {
      this.#server.listen(port, host, () => {
        this.#server.off("error", failed)
        this.#server.on("error", () => {})
        done((this.#server.address() as { readonly port: number }).port)
      })
    } catch (error) {
      failed(error)
    }
  }

  /** Ends all connections, and stops listening. Viewers are told that the program has ended. */
  close(done: () => void): void {
    for (const { response } of this.#viewers) response.end(line({ type: "end" }))
    this.#viewers.clear()
    // The last line of viewers goes out first.
    setTimeout(() => {
      this.#server.closeAllConnections()
      for (const socket of this.#sockets) socket.destroy()
      this.#server.close(() => done())
    }, 50)
  }

  // --- those who look

  /** Tells all viewers. One that is behind gets everything once it has caught up, and is dropped if that takes too long. */
  tell(message: Message | undefined): void {
    const text = message === undefined ? undefined : line(message)
    const now = performance.now()
    let all: string | undefined
    for (const viewer of this.#viewers) {
      const { response } = viewer
      if (response.writableLength > maximumBehind) {
        viewer.behindSince ??= now
        if (now - viewer.behindSince > patience) response.destroy()
      } else if (viewer.behindSince !== undefined) {
        viewer.behindSince = undefined
        response.write(all ??= line(this.#options.ledger.all()))
      } else if (text !== undefined) response.write(text)
    }
  }

  #look(response: http.ServerResponse): void {
    if (this.#viewers.size >= maximumViewers) {
      return refuse(response, 503, `Too many look already, at most ${maximumViewers} can.`)
    }
    const viewer: Viewer = { response, behindSince: undefined }
    const { hello, ledger, onLooking } = this.#options
    response.on("error", () => {})
    response.on("close", () => {
      if (this.#viewers.delete(viewer) && this.#viewers.size === 0) onLooking(false)
    })
    // The other viewers get the changes so far: the new one has them all.
    this.tell(ledger.news())
    this.#viewers.add(viewer)
    if (this.#viewers.size === 1) onLooking(true)
    response.writeHead(200, { "Content-Type": "application/x-ndjson; charset=utf-8" })
    response.write(line(hello) + line(ledger.all()))
  }

  // --- requests

  #answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    for (const name in headers) response.setHeader(name, headers[name]!)
    const { authorization, host, origin } = request.headers
    const { method = "", url = "" } = request
    if (!isLocal(host)) {
      return refuse(response, 403, "The Host header does not name this machine. Open the inspector at its own address.")
    }
    if (origin !== undefined && origin.toLowerCase() !== `http://${host!.toLowerCase()}`) {
      return refuse(response, 403, "The request comes from another page.")
    }
    // Nothing here takes a body.
    if (Number(request.headers["content-length"] ?? 0) !== 0 || request.headers["transfer-encoding"] !== undefined) {
      return refuse(response, 413, "The inspector takes no body.")
    }
    const path = url.split(/[?#]/, 1)[0]!
    const file = Object.hasOwn(files, path) ? files[path] : undefined
    const cancelled = /^\/calls\/(\d{1,15})\/cancel$/.exec(path)
    const wanted = cancelled !== null ? ["POST"] : file !== undefined ? ["GET", "HEAD"] : ["GET"]
    if (file === undefined && cancelled === null && path !== "/calls") return refuse(response, 404, "Nothing is here.")
    if (!wanted.includes(method)) {
      response.setHeader("Allow", wanted.join(", "))
      return refuse(response, 405, `Only ${wanted.join(" and ")} will do here.`)
    }
    if (file !== undefined) {
      const [type, text] = file
      response.writeHead(200, { "Content-Type": type })
      return void response.end(method === "HEAD" ? undefined : text())
    }
    const token = /^Bearer (.{1,1000})$/.exec(authorization ?? "")?.[1]
    // The digests have one length, so the comparison takes the same time for every token.
    if (token === undefined || !timingSafeEqual(digest(token), this.#digest)) {
      response.setHeader("WWW-Authenticate", "Bearer")
      return refuse(
        response,
        401,
        "The token is missing or wrong. The program logs the URL with its token at its start."
      )
    }
    if (cancelled === null) return this.#look(response)
    if (!this.#options.hello.cancel) {
      return refuse(
        response,
        403,
        "The program does not allow to cancel its calls: the option cancel of its inspector is off."
      )
    }
    if (!this.#options.ledger.cancel(Number(cancelled[1]))) return refuse(response, 404, "The call is not in progress.")
    response.writeHead(202)
    response.end()
  }
}

const refuse = (response: http.ServerResponse, status: number, reason: string): void => {
  response.writeHead(status, { "Content-Type": "text/plain; charset=utf-8", "Connection": "close" })
  response.end(`${reason}\n`)
}
