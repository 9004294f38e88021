// gRPC for JavaScript, with the smallest messages there are: four bytes for a number, and bytes as they are.
import { Effect, type Scope } from "effect"
import { load, makePromisedClient, type Promised, promisedRoutines, toService } from "./peers.ts"
import { chunk, type Contender, ended, timeCancels, timePipe } from "./service.ts"

type Done<A> = (error: Error | null, value?: A) => void

interface ServerStream {
  readonly request: unknown
  write(chunk: Uint8Array): boolean
  end(): void
  once(event: "drain", then: () => void): void
  on(event: "data", receive: (chunk: Uint8Array) => void): void
  on(event: "end" | "cancelled", then: () => void): void
}

interface ClientCall {
  cancel(): void
  write(chunk: Uint8Array): boolean
  end(): void
  once(event: "drain", then: () => void): void
  on(event: "data", receive: (chunk: Uint8Array) => void): void
  on(event: "end", then: () => void): void
  on(event: "error", then: (error: Error) => void): void
}

interface Format<A> {
  readonly to: (value: A) => Buffer
  readonly from: (bytes: Buffer) => A
}

interface Grpc {
  readonly Server: new (options: object) => {
    addService(methods: object, routines: object): void
    bindAsync(address: string, credentials: unknown, done: Done<number>): void
  }
  readonly ServerCredentials: { createInsecure(): unknown }
  readonly credentials: { createInsecure(): unknown }
  readonly Client: new (address: string, credentials: unknown, options: object) => GrpcClient
}

interface GrpcClient {
  makeUnaryRequest<A, B>(
    path: string,
    to: Format<A>["to"],
    from: Format<B>["from"],
    value: A,
    done: Done<B>
  ): ClientCall
  makeClientStreamRequest<A, B>(path: string, to: Format<A>["to"], from: Format<B>["from"], done: Done<B>): ClientCall
  makeServerStreamRequest<A, B>(path: string, to: Format<A>["to"], from: Format<B>["from"], value: A): ClientCall
  waitForReady(deadline: number, done: (error?: Error) => void): void
  close(): void
}

const int: Format<number> = {
  to: (n) => {
    const bytes = Buffer.allocUnsafe(4)
    bytes.writeUInt32LE(n)
    return bytes
  },
  from: (bytes) => bytes.readUInt32LE()
}

const bytes: Format<Uint8Array> = {
  to: (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength),
  from: (bytes) => bytes
}

const nothing: Format<object> = { to: () => Buffer.alloc(0), from: () => ({}) }

const pathOf = (name: string) => `/bench.Measured/${name}`

const define = <A, B>(
  name: string,
  input: Format<A>,
  output: Format<B>,
  streams: [boolean, boolean] = [false, false]
) => ({
  path: pathOf(name),
  requestStream: streams[0],
  responseStream: streams[1],
  requestSerialize: input.to,
  requestDeserialize: input.from,
  responseSerialize: output.to,
  responseDeserialize: output.from
})

/** Writes so many bytes, as fast as there is room. */
const writeChunks = (stream: Pick<ServerStream, "write" | "end" | "once">, bytes: number) => {
  let left = bytes
  const write = (): void => {
    while (left > 0) {
      left -= chunk.length
      if (!stream.write(chunk)) return stream.once("drain", write)
    }
    stream.end()
  }
  write()
}

const sizeOf = (stream: Pick<ServerStream, "on">, then: (size: number) => void) => {
  let size = 0
  stream.on("data", ({ length }) => size += length)
  stream.on("end", () => then(size))
}

const methods = {
  AddOne: define("AddOne", int, int),
  Echo: define("Echo", bytes, bytes),
  Wait: define("Wait", nothing, nothing),
  Started: define("Started", int, nothing),
  Ended: define("Ended", int, nothing),
  Store: define("Store", bytes, int, [true, false]),
  Load: define("Load", int, bytes, [false, true])
}

const grpcRoutines = {
  AddOne: ({ request }: { request: number }, done: Done<number>) => done(null, promisedRoutines.AddOne(request)),
  Echo: ({ request }: { request: Uint8Array }, done: Done<Uint8Array>) => done(null, request),
  Wait: (call: ServerStream) => {
    promisedRoutines.Wait()
    call.on("cancelled", () => ended.add())
  },
  Started: ({ request }: { request: number }, done: Done<object>) =>
    promisedRoutines.Started(request).then(() => done(null, {})),
  Ended: ({ request }: { request: number }, done: Done<object>) =>
    promisedRoutines.Ended(request).then(() => done(null, {})),
  Store: (call: ServerStream, done: Done<number>) => sizeOf(call, (size) => done(null, size)),
  Load: (call: ServerStream) => writeChunks(call, call.request as number)
}

const makeClient = ({ Client, credentials }: Grpc, port: number): Effect.Effect<GrpcClient, Error, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback((resume) => {
      const client = new Client(
        `127.0.0.1:${port}`,
        credentials.createInsecure(),
        { "grpc.use_local_subchannel_pool": 1 }
      )
      client.waitForReady(
        Date.now() + 30_000,
        (error) => resume(error instanceof Error ? Effect.fail(error) : Effect.succeed(client))
      )
    }),
    (client) => Effect.sync(() => client.close())
  )

const serviceOf = (client: GrpcClient): Promised => {
  const call = <A, B>(name: string, input: Format<A>, output: Format<B>, value: A) =>
    new Promise<B>((resolve, reject) => {
      const done: Done<B> = (error, result) => error === null ? resolve(result!) : reject(error)
      client.makeUnaryRequest(pathOf(name), input.to, output.from, value, done)
    })
  return {
    AddOne: (n) => call("AddOne", int, int, n),
    Echo: (value) => call("Echo", bytes, bytes, value),
    Wait: () => call("Wait", nothing, nothing, {}),
    Started: (count) => call("Started", int, nothing, count),
    Ended: (count) => call("Ended", int, nothing, count)
  }
}

const timeCalls = (client: GrpcClient) => {
  /** A call that is pending, and how it is cancelled, until its caller knows. */
  const begin = () => {
    let settled = () => {}
    const call = client.makeUnaryRequest(pathOf("Wait"), nothing.to, nothing.from, {}, () => settled())
    return () =>
      new Promise<void>((resolve) => {
        settled = resolve
        call.cancel()
      })
  }
  return timeCancels(
    toService(serviceOf(client)),
    (count) => Effect.sync(() => Array.from({ length: count }, begin)),
    (cancels) => Effect.promise(() => Promise.all(cancels.map((cancel) => cancel())))
  )
}

export const grpc: Contender = {
  serve: Effect.flatMap(
    Effect.promise(() => load("@grpc/grpc-js")),
    ({ Server, ServerCredentials }: Grpc) =>
      Effect.callback<number, Error>((resume) => {
        // By default a client has at most a hundred calls in flight on a connection.
        const server = new Server({ "grpc.max_concurrent_streams": 1_000_000 })
        server.addService(methods, grpcRoutines)
        server.bindAsync(
          "127.0.0.1:0",
          ServerCredentials.createInsecure(),
          (error, port) => resume(error === null ? Effect.succeed(port!) : Effect.fail(error))
        )
      })
  ),
  connect: (port) =>
    Effect.gen(function* () {
      const library: Grpc = yield* Effect.promise(() => load("@grpc/grpc-js"))
      const client = yield* makeClient(library, port)
      return {
        ...makePromisedClient(serviceOf(client)),
        cancels: {
          // HTTP/2 servers close a connection on which many calls were cancelled: each round has a connection of its own.
          cancelled: (options) =>
            Effect.flatMap(makeClient(library, port), (client) => timeCalls(client)(options)).pipe(Effect.scoped)
        },
        pipes: {
          in: timePipe((size) =>
            Effect.callback<number, Error>((resume) => {
              const done: Done<number> = (error, arrived) =>
                resume(error === null ? Effect.succeed(arrived!) : Effect.fail(error))
              writeChunks(client.makeClientStreamRequest(pathOf("Store"), bytes.to, int.from, done), size)
            })
          ),
          out: timePipe((size) =>
            Effect.callback<number, Error>((resume) => {
              const call = client.makeServerStreamRequest(pathOf("Load"), int.to, bytes.from, size)
              call.on("error", (error) => resume(Effect.fail(error)))
              sizeOf(call, (arrived) => resume(Effect.succeed(arrived)))
            })
          )
        }
      }
    })
}
