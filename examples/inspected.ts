// A kitchen whose calls can be seen: orders that are cooked, cancelled, burnt, and lost with their kitchen, until Ctrl-C.
// Run it: deno run -A examples/inspected.ts (or: bun examples/inspected.ts), and open the URL that it logs. It listens on --port, by default
// one that the system chooses. For the same in a terminal: callisto watch "URL".
import process from "node:process"
import { parseArgs } from "node:util"
import { Console, Effect, Random, Schema } from "effect"
import { Binding, Call, Interface, Manager, Server, ServerCall } from "@callisto/rpc"
import { Association, Endpoint } from "@callisto/rpc/dcerpc"
import { StringBinding } from "@callisto/rpc/transport"
import * as Inspector from "@callisto/rpc/inspector"
import * as NodeTransport from "@callisto/rpc/node"

const { values: { port } } = parseArgs({ options: { port: { type: "string", default: "0" } } })

class Burnt extends Schema.TaggedError<Burnt>()("Burnt", { dish: Schema.String }) {}

const IKitchen = Interface.make("IKitchen", {
  uuid: "7a0fd6c1-2c5e-4b8e-9a55-0f7f5d3f6a01",
  version: [1, 0],
  methods: {
    Menu: Interface.method({ out: { dishes: Schema.Array(Schema.String) } }),
    Cook: Interface.method({
      in: { dish: Schema.String, portions: Schema.Int },
      out: { dish: Schema.String },
      aborts: [Interface.abort(5001, Burnt)]
    }),
    Deliver: Interface.method({ in: { dish: Schema.String, address: Schema.String }, out: { minutes: Schema.Int } })
  }
})

const dishes = ["soup", "risotto", "ravioli", "stew", "apple pie", "waffles", "goulash"]

/** Mostly short, sometimes long. */
const time = Effect.map(Random.next, (random) => 20 * Math.exp(random * 6.5))

const manager = Manager.make(IKitchen, {
  Menu: () => Effect.succeed({ dishes }),
  Cook: ({ dish, portions }) =>
    Effect.gen(function* () {
      yield* Effect.sleep((yield* time) * Math.sqrt(portions))
      if ((yield* Random.next) < 0.15) return yield* Effect.fail(new Burnt({ dish }))
      return { dish }
    }),
  // Whoever is on the road does not turn back at once.
  Deliver: Manager.handOff((_, call) =>
    ServerCall.fork(
      call,
      Effect.gen(function* () {
        const millis = yield* time
        yield* Effect.sleep(millis)
        yield* ServerCall.complete(call, { minutes: Math.round(millis / 100) })
      })
    )
  )
})

/** One order after the other, of which the customer no longer wants some after a while. */
const orders = (kitchen: Binding.Binding<typeof IKitchen>) =>
  Effect.gen(function* () {
    const client = Call.client(kitchen)
    const dish = dishes[yield* Random.nextIntBetween(0, dishes.length - 1)]!
    yield* client.Menu()
    yield* Effect.sleep(yield* time)
    const chance = yield* Random.next
    const call: Effect.Effect<unknown, unknown> = chance < 0.3
      ? client.Deliver({ dish, address: `${Math.ceil(chance * 100)} Mill Lane` })
      : client.Cook({ dish, portions: Math.ceil(chance * 8) })
    yield* Effect.timeout(call, 8 * (yield* time))
  }).pipe(Effect.ignore, Effect.andThen(Effect.sleep(50)), Effect.forever)

/** A kitchen on wheels leaves after a while, whatever is on the stove. */
const truck = Effect.gen(function* () {
  const endpoint = yield* Endpoint.serve(yield* Server.make([manager], { grace: 0 }), "ncacn_ip_tcp:127.0.0.1[0]")
  const kitchen = yield* Association.bind(IKitchen, StringBinding.print(endpoint.address))
  for (let i = 0; i < 3; i++) yield* Effect.forkScoped(orders(kitchen))
  yield* Effect.sleep("9 seconds")
})

const interrupted = Effect.callback<void>((resume) => {
  process.once("SIGINT", () => resume(Effect.void))
})

const program = Effect.gen(function* () {
  const server = yield* Server.make([manager])
  for (const [name, domain] of [["alice", "CORP"], ["bob", "CORP"], ["carol", undefined]] as const) {
    const kitchen = yield* Binding.local(server, IKitchen, { caller: { name, domain, level: "privacy" } })
    for (let i = 0; i < 2; i++) yield* Effect.forkScoped(orders(kitchen))
  }
  yield* Effect.forkScoped(Effect.forever(Effect.ignore(Effect.scoped(truck))))
  yield* Console.log("Ctrl-C ends it.")
  yield* interrupted
}).pipe(Effect.scoped)

await Effect.runPromise(program.pipe(
  Effect.provide(Inspector.layer({ port: Number(port), cancel: true, values: true })),
  Effect.provide(NodeTransport.layer)
))
