// The rpcecho interface, by which DCE/RPC implementations test each other, and a manager for it.
// rpcecho_server.ts serves the interface, rpcecho_client.ts calls it.
import { Console, Effect } from "effect"
import { Interface, Manager, ServerCall, Status } from "@callisto/rpc"
import { Ndr } from "@callisto/rpc/ndr"

// ----------------------------------------------------------------------------
// the interface
// ----------------------------------------------------------------------------

const Info1 = Ndr.struct({ v: Ndr.Uint8 })
const Info2 = Ndr.struct({ v: Ndr.Uint16 })
const Info3 = Ndr.struct({ v: Ndr.Uint32 })
const Info4 = Ndr.struct({ v: Ndr.Int64 })
const Info = Ndr.union(Ndr.Uint16, {
  1: Info1,
  2: Info2,
  3: Info3,
  4: Info4,
  5: Ndr.struct({ v1: Ndr.Uint8, v2: Ndr.Int64 }),
  6: Ndr.struct({ v1: Ndr.Uint8, info1: Info1 }),
  7: Ndr.struct({ v1: Ndr.Uint8, info4: Info4 })
})

const Enum1 = Ndr.enum16([1, 2])
const Enum2 = Ndr.struct({ e1: Enum1, e2: Ndr.enum32([1, 2]) })
const enums = {
  foo1: Ndr.switchIs("foo3"), // says the case of foo3, so the value leaves it out
  foo2: Enum2,
  foo3: Ndr.union(Enum1, { 1: Enum1, 2: Enum2 })
}

const surrounding = {
  data: Ndr.struct({ x: Ndr.sizeIs("surrounding"), surrounding: Ndr.conformant(Ndr.Uint16) })
}

const bytes = { len: Ndr.sizeIs("data"), data: Ndr.Bytes }

export const IRpcEcho = Interface.make("rpcecho", {
  uuid: "60a15ec5-4de8-11d7-a637-005056a20182",
  version: [1, 0],
  methods: {
    AddOne: Interface.method({ in: { value: Ndr.Uint32 }, out: { value: Ndr.Uint32 } }),
    EchoData: Interface.method({ in: bytes, out: { data: Ndr.Bytes } }),
    SinkData: Interface.method({ in: bytes }),
    SourceData: Interface.method({ in: { len: Ndr.Uint32 }, out: { data: Ndr.Bytes } }),
    TestCall: Interface.method({ in: { s1: Ndr.WString }, out: { s2: Ndr.unique(Ndr.WString) } }),
    TestCall2: Interface.method({ in: { level: Ndr.Uint16 }, out: { info: Info, status: Ndr.Uint32 } }),
    TestSleep: Interface.method({ in: { seconds: Ndr.Uint32 }, out: { seconds: Ndr.Uint32 } }),
    TestEnum: Interface.method({ in: enums, out: enums }),
    TestSurrounding: Interface.method({ in: surrounding, out: surrounding }),
    TestDoublePointer: Interface.method({
      in: { data: Ndr.ref(Ndr.unique(Ndr.unique(Ndr.Uint16))) },
      out: { value: Ndr.Uint16 }
    })
  }
})

// ----------------------------------------------------------------------------
// the manager
// ----------------------------------------------------------------------------

/** The most bytes that SourceData makes, and the most numbers that TestSurrounding makes. */
export const limit = 1 << 20

const invalidArgument = 87
const invalidTag = 1733

const infos: { readonly [level: number]: typeof Info.Type } = {
  1: { case: 1, value: { v: 10 } },
  2: { case: 2, value: { v: 20 } },
  3: { case: 3, value: { v: 30 } },
  4: { case: 4, value: { v: 40n } },
  5: { case: 5, value: { v1: 50, v2: 60n } },
  6: { case: 6, value: { v1: 70, info1: { v: 80 } } },
  7: { case: 7, value: { v1: 80, info4: { v: 90n } } }
}

const fault = (code: number) => Effect.fail(new Status.RpcFault({ code }))

export const makeRpcEcho = (options?: Manager.Options<typeof IRpcEcho>) =>
  Manager.make(IRpcEcho, {
    AddOne: ({ value }) => Effect.succeed({ value: (value + 1) >>> 0 }),
    EchoData: ({ data }) => Effect.succeed({ data }),
    SinkData: () => Effect.void,
    SourceData: ({ len }) =>
      len > limit
        ? fault(invalidArgument)
        : Effect.sync(() => ({ data: Uint8Array.from({ length: len }, (_, i) => i) })),
    TestCall: ({ s1 }) => Effect.succeed({ s2: s1 }),
    TestCall2: ({ level }) => {
      const info = infos[level]
      return info === undefined ? fault(invalidTag) : Effect.succeed({ info, status: 0 })
    },

    // The routine returns at once, and the sleep goes on in the scope of the call. A cancel ends it, and so does the loss of the client.
    TestSleep: Manager.handOff(({ seconds }, call) => {
      const sleep = ServerCall.run(call, Effect.as(Effect.sleep(seconds * 1000), { seconds }))
      const tell = Effect.flatMap(
        ServerCall.awaitCancel(call),
        (reason) =>
          reason === "Ended" ? Effect.void : Console.log(`TestSleep(${seconds}) of ${ServerCall.peer(call)}: ${reason}`)
      )
      // The message comes when the call has ended already, so it belongs to the server.
      return Effect.andThen(Effect.forkIn(tell, ServerCall.server(call)), ServerCall.fork(call, sleep))
    }),

    TestEnum: ({ foo2, foo3 }) => Effect.succeed({ foo2: { ...foo2, e1: 2 }, foo3 }),
    TestSurrounding: ({ data }) => {
      const x = 2 * data.surrounding.length
      return x > limit
        ? fault(invalidArgument)
        : Effect.sync(() => ({ data: { surrounding: new Array<number>(x).fill(0) } }))
    },
    TestDoublePointer: ({ data }) => Effect.succeed({ value: data ?? 0 })
  }, options)

export const rpcEcho = makeRpcEcho()
