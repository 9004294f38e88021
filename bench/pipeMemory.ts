// Sends 1 GiB through an in pipe and an out pipe over TCP on this machine, client and server in processes of their own, and looks every
// 50 ms at the memory of both: it may grow by 64 MiB at most after the first 64 MiB went through. Then the same with a slow reader,
// for whom the writer has to wait; all of it in our own transfer syntax, in NDR, and in one process. Not among the tests, because it takes
// too long and wants the machine for itself.
//
//   npm run memory [-- --quick]
//
// --quick sends a quarter.
import { Effect, Schema, Stream } from "effect";
import { spawn } from "node:child_process";
import { createHash, type Hash } from "node:crypto";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import {
  Binding,
  Call,
  Interface,
  Manager,
  Pipe,
  Server,
  ServerCall,
} from "../mod.ts";
import { Association, Endpoint } from "../src/dcerpc.ts";
import { Ndr } from "../src/ndr.ts";
import * as NodeTransport from "../src/node.ts";

const mebi = 0x100000;
const total = (process.argv.includes("--quick") ? 256 : 1024) * mebi;
const warmUp = 64 * mebi;
const allowed = 64 * mebi;
const chunkSize = 0x10000;
/** How long a slow reader is looked at, and how long it sleeps after each chunk. */
const slowMillis = 3000;
const pauseMillis = 5;

const makeInterface = (
  uuid: string,
  boolean: typeof Schema.Boolean,
  number: typeof Schema.Int,
) =>
  Interface.make("IFlow", {
    uuid,
    version: [1, 0],
    methods: {
      Upload: Interface.method({
        in: { slow: boolean },
        inPipe: { bytes: Pipe.bytes },
        out: { size: number },
      }),
      Download: Interface.method({
        in: { slow: boolean },
        outPipe: { bytes: Pipe.bytes },
      }),
      /** How far the memory of the server has grown during the call before. */
      Look: Interface.method({ out: { growth: number } }),
    },
  });

type IFlow = ReturnType<typeof makeInterface>;

/** The same interface, in our own transfer syntax and in NDR. */
const interfaces = {
  schemas: makeInterface(
    "1d6e0c5b-52a7-4a0f-9d3e-8b7c6f5a4e91",
    Schema.Boolean,
    Schema.Int,
  ),
  NDR: makeInterface(
    "1d6e0c5b-52a7-4a0f-9d3e-8b7c6f5a4e92",
    Ndr.Boolean,
    Ndr.Uint32,
  ),
};

/** Looks at the memory of this process, from the moment on when enough has moved. */
class Watch {
  private start: number | undefined = undefined;
  private peak = 0;
  moved = 0;
  private least = warmUp;

  reset(slow: boolean): void {
    this.start = undefined;
    this.peak = 0;
    this.moved = 0;
    // Of a slow pipe not so much goes through.
    this.least = slow ? mebi : warmUp;
  }

  look(): void {
    if (this.moved < this.least) return;
    const { rss } = process.memoryUsage();
    this.start ??= rss;
    this.peak = Math.max(this.peak, rss);
  }

  get growth(): number {
    return this.start === undefined ? 0 : this.peak - this.start;
  }
}

const watch = new Watch();
const looking = Effect.forever(
  Effect.andThen(Effect.sync(() => watch.look()), Effect.sleep("50 millis")),
);

/**
 * Fresh chunks, as a program has them that reads a file, until there are enough of them or the time is over. They are there until the
 * collector of the runtime comes: pipes have to leave it the turns of the event loop that it needs.
 */
const chunks = (slow: boolean): Stream.Stream<Uint8Array> => {
  const end = slow ? Date.now() + slowMillis : Infinity;
  return Stream.unfold(0, (sent: number) =>
    Effect.sync(() => {
      if (slow ? Date.now() > end : sent >= total) return undefined;
      watch.moved += chunkSize;
      return [new Uint8Array(chunkSize), sent + chunkSize] as const;
    }));
};

/** Reads a pipe to its end. In one process each chunk is hashed: nothing else there takes time. */
const drain = <E>(
  pipe: Pipe.Reader<Uint8Array, E>,
  slow: boolean,
  hash?: Hash,
) => {
  const end = slow ? Date.now() + slowMillis : Infinity;
  const pull = Effect.tap(
    Pipe.pull(pipe, chunkSize),
    () => slow && Date.now() < end ? Effect.sleep(pauseMillis) : Effect.void,
  );
  return Effect.gen(function* () {
    let size = 0;
    for (let chunk = yield* pull; chunk.length > 0; chunk = yield* pull) {
      size += chunk.length;
      // In one process the writer has counted it already.
      if (hash === undefined) watch.moved += chunk.length;
      else hash.update(chunk);
    }
    return { size };
  });
};

const makeManager = (flow: IFlow, hash?: Hash) =>
  Manager.make(flow, {
    Upload: ({ slow }, call) =>
      Effect.suspend(() => {
        watch.reset(slow);
        return drain(ServerCall.inPipe(call, "bytes"), slow, hash);
      }),
    Download: ({ slow }, call) =>
      Effect.suspend(() => {
        watch.reset(slow);
        return Stream.run(
          chunks(slow),
          Pipe.toSink(ServerCall.outPipe(call, "bytes")),
        );
      }),
    Look: () => Effect.sync(() => ({ growth: watch.growth })),
  });

const serve = Effect.gen(function* () {
  yield* Effect.forkScoped(looking);
  const server = yield* Server.make([
    makeManager(interfaces.schemas),
    makeManager(interfaces.NDR),
  ]);
  const { address } = yield* Endpoint.serve(
    server,
    "ncacn_ip_tcp:127.0.0.1[0]",
  );
  console.log(address.endpoint);
  return yield* Effect.never;
}).pipe(Effect.scoped, Effect.provide(NodeTransport.layer));

/** Gives whether all went well. */
const measure = Effect.fnUntraced(
  function* (flows: Binding.Binding<IFlow>, hash?: Hash) {
    let good = true;
    const tell = (name: string, value: number, limit: number) => {
      const well = value <= limit;
      good &&= well;
      console.log(
        `${well ? "ok    " : "FAILED"} ${name}: ${
          (value / mebi).toFixed(1)
        } MiB, at most ${limit / mebi} MiB`,
      );
    };
    for (const slow of [false, true]) {
      for (const method of ["Upload", "Download"] as const) {
        watch.reset(slow);
        const start = Date.now();
        const size = method === "Upload"
          ? (yield* Stream.run(
            chunks(slow),
            Call.sink(flows, "Upload", { slow }),
          )).size
          : (yield* Effect.scoped(Effect.gen(function* () {
            const pending = yield* Call.begin(
              yield* Call.make(flows),
              "Download",
              { slow },
            );
            const { size } = yield* drain(
              Call.outPipe(pending, "bytes"),
              slow,
              hash,
            );
            yield* Call.join(pending);
            return size;
          })));
        const seconds = (Date.now() - start) / 1000;
        const { growth } = yield* Call.invoke(flows, "Look");
        const row = `${method}${slow ? " with a slow reader" : ""}, ${
          (size / mebi).toFixed(0)
        } MiB in ${seconds.toFixed(1)} s`;
        if (hash === undefined) {
          tell(`${row}: growth of the client`, watch.growth, allowed);
        }
        tell(
          `${row}: growth of the ${hash === undefined ? "server" : "process"}`,
          growth,
          allowed,
        );
        if (!slow && size !== total) {
          tell(`${row}: what is missing`, total - size, 0);
        }
      }
    }
    return good;
  },
);

/** Starts a server in a process of its own, and gives its port. */
const startServer = Effect.gen(function* () {
  const flags = process.versions["deno"] === undefined
    ? process.execArgv
    : ["run", "-A"];
  const child = yield* Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, [
        ...flags,
        fileURLToPath(import.meta.url),
        "serve",
        ...process.argv.slice(3),
      ], {
        stdio: ["ignore", "pipe", "inherit"],
      })
    ),
    (child) => Effect.sync(() => process.kill(child.pid!)),
  );
  return yield* Effect.promise(() =>
    new Promise<string>((resolve) =>
      createInterface({ input: child.stdout }).once("line", resolve)
    )
  );
});

const overNetwork = (flow: IFlow) =>
  Effect.gen(function* () {
    const port = yield* startServer;
    yield* Effect.forkScoped(looking);
    return yield* measure(
      yield* Association.bind(flow, `ncacn_ip_tcp:127.0.0.1[${port}]`),
    );
  }).pipe(Effect.scoped, Effect.provide(NodeTransport.layer));

const inOneProcess = Effect.gen(function* () {
  yield* Effect.forkScoped(looking);
  const hash = createHash("sha1");
  const server = yield* Server.make([makeManager(interfaces.schemas, hash)]);
  return yield* measure(yield* Binding.local(server, interfaces.schemas), hash);
}).pipe(Effect.scoped);

const tasks: { readonly [name: string]: Effect.Effect<boolean, unknown> } = {
  serve,
  schemas: overNetwork(interfaces.schemas),
  NDR: overNetwork(interfaces.NDR),
  local: inOneProcess,
};

process.exitCode = await Effect.runPromise(tasks[process.argv[2]!]!) ? 0 : 1;
