import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import fc from "fast-check"
import * as Management from "../../src/dcerpc/Management.ts"
import * as StringBinding from "../../src/transport/StringBinding.ts"
import * as Tower from "../../src/dcerpc/Tower.ts"
import { binary, ndr20 } from "../../src/dcerpc/TransferSyntax.ts"

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")

const bytesOf = (text: string): Uint8Array =>
  Uint8Array.from(text.match(/[0-9a-f]{2}/g) ?? [], (pair) => parseInt(pair, 16))

const parsed = (text: string): StringBinding.StringBinding => Result.getOrThrow(StringBinding.parse(text))

const towerAt = (binding: string): Tower.Tower =>
  Result.getOrThrow(Tower.make({ interface: Management.IManagement, binding: parsed(binding) }))

const decoded = (text: string): Tower.Tower => Result.getOrThrow(Tower.decode(bytesOf(text)))

const management = "13000d80bda8af8a7dc911bef408002b10298901000200 0000"
const ndr = "13000d045d888aeb1cc9119fe808002b10486002000200 0000"

describe("a tower", () => {
  it("tower over TCP: has five floors, with the port and the address in network order", () => {
    const tower = towerAt("ncacn_ip_tcp:10.0.0.1[135]")
    assert.strictEqual(
      hex(Tower.encode(tower)),
      "050013000d80bda8af8a7dc911bef408002b10298901000200000013000d045d888aeb1cc9119fe808002b10486002000200000001000b02000000" +
        "0100070200008701000904000a000001"
    )
    assert.deepStrictEqual(Tower.decode(Tower.encode(tower)), Result.succeed(tower))
    assert.deepStrictEqual(Tower.binding(tower), parsed("ncacn_ip_tcp:10.0.0.1[135]"))
    assert.deepStrictEqual([tower.interface.uuid, tower.interface.version], [Management.IManagement.uuid, [1, 0]])
    assert.deepStrictEqual(tower.transferSyntax, ndr20.id)
  })

  it("tower over local RPC: has four floors, with a name", () => {
    // As Samba writes it.
    const text =
      "040013000dfb855d8854c76240a0e76872ce0064f402000200000013000d045d888aeb1cc9119fe808002b10486002000200000001000c02000000" +
      "0100100c00727063645f6d647373766300"
    const tower = decoded(text)
    assert.deepStrictEqual(Tower.binding(tower), parsed("ncalrpc:[rpcd_mdssvc]"))
    assert.deepStrictEqual(tower.interface, { uuid: "885d85fb-c754-4062-a0e7-6872ce0064f4", version: [2, 0] })
    assert.strictEqual(hex(Tower.encode(tower)), text)
    const again = Result.getOrThrow(
      Tower.make({ interface: tower.interface, binding: parsed("ncalrpc:[rpcd_mdssvc]") })
    )
    assert.strictEqual(hex(Tower.encode(again)), text)
    assert.deepStrictEqual(Tower.binding(towerAt("ncalrpc:[/run/grüße]")), parsed("ncalrpc:[/run/grüße]"))
  })

  it("tower: has the requested transfer syntax, and minor versions on the right-hand sides", () => {
    const tower = Result.getOrThrow(Tower.make({
      interface: { uuid: Management.IManagement.uuid, version: [0x102, 0x304] },
      transferSyntax: binary.id,
      binding: parsed("ncacn_ip_tcp:[1]")
    }))
    const bytes = Tower.encode(tower)
    assert.strictEqual(hex(bytes.subarray(21, 27)), "020102000403")
    assert.deepStrictEqual(Result.getOrThrow(Tower.decode(bytes)), tower)
    assert.deepStrictEqual(tower.transferSyntax, binary.id)
  })

  it("host name, IPv6 address or no address: the tower has zeros, and reads as no address", () => {
    for (const address of ["example.com", "::1", "", "0.0.0.0"]) {
      const tower = towerAt(`ncacn_ip_tcp:${address}[8765]`)
      assert.strictEqual(hex(Tower.encode(tower)).slice(-8), "00000000")
      assert.deepStrictEqual(Tower.binding(tower), parsed("ncacn_ip_tcp:[8765]"))
    }
  })

  it("tower without an endpoint: has port 0 or the empty name, as in a question to an endpoint mapper", () => {
    assert.strictEqual(hex(Tower.encode(towerAt("ncacn_ip_tcp:"))).slice(-32), "01000702000000" + "010009040000000000")
    assert.deepStrictEqual(Tower.binding(towerAt("ncacn_ip_tcp:")), parsed("ncacn_ip_tcp:"))
    assert.deepStrictEqual(Tower.binding(towerAt("ncalrpc:")), parsed("ncalrpc:"))
  })

  it("protocol sequence without floors, or a name that is too long: no tower is made", () => {
    const refused = (binding: string) => {
      const result = Tower.make({ interface: Management.IManagement, binding: parsed(binding) })
      return Result.isFailure(result) ? [result.failure.status, result.failure.message] : []
    }
    assert.deepStrictEqual(refused("ncacn_ws:host[80]"), [
      1703,
      "No tower: ncacn_ws:host[80] has no floors; ncacn_ip_tcp and ncalrpc have. (TowerError)"
    ])
    assert.strictEqual(refused("ncacn_memory:[a]")[0], 1703)
    assert.strictEqual(refused(`ncalrpc:[${"x".repeat(65535)}]`)[0], 1751)
    assert.deepStrictEqual(
      new Tower.TowerError({ status: 1703, detail: "" }).codes.rpcStatus?.name,
      "RPC_S_PROTSEQ_NOT_SUPPORTED"
    )
    assert.deepStrictEqual(
      new Tower.TowerError({ status: 1751, detail: "" }).codes.rpcStatus?.name,
      "EPT_S_INVALID_ENTRY"
    )
  })

  it("tower of another protocol sequence: is kept as it is, and shown to people", () => {
    const shown = (floors: string, count = "0500") => {
      const text = `${count}${management}${ndr}${floors}`.replaceAll(" ", "")
      const tower = decoded(text)
      assert.strictEqual(hex(Tower.encode(tower)), text)
      return [Tower.print(tower), Tower.binding(tower)]
    }
    const pipe = "01000f0b00" + hex(new TextEncoder().encode("\\pipe\\samr")) + "00"
    const oriented = "01000b02000000"
    assert.deepStrictEqual(shown(`${oriented}${pipe}010011010000`), ["ncacn_np:[\\pipe\\samr]", undefined])
    assert.deepStrictEqual(shown(`${oriented}${pipe}0100110300684f00`), ["ncacn_np:hO[\\pipe\\samr]", undefined])
    assert.deepStrictEqual(shown(`${oriented}01001f020002510100090400 0a000001`), [
      "ncacn_http:10.0.0.1[593]",
      undefined
    ])
    assert.deepStrictEqual(shown("01000a020000000100080200008701000904000a000001"), [
      "ncadg_ip_udp:10.0.0.1[135]",
      undefined
    ])
    assert.deepStrictEqual(shown(`${oriented}01001602000102`, "0400"), ["floors 0x0b 0x16", undefined])
    assert.deepStrictEqual(shown(`${oriented}0300160102 0000`, "0400"), ["floors 0x0b 0x16", undefined])
    // A port or an address of another size is none.
    assert.strictEqual(shown(`${oriented}0100070100 87 01000904000a000001`)[1], undefined)
    assert.strictEqual(shown(`${oriented}01000702000087 0100090200 0a00`)[1], undefined)
  })

  it("bytes behind a tower: are ignored", () => {
    const tower = towerAt("ncacn_ip_tcp:10.0.0.1[135]")
    assert.deepStrictEqual(Result.getOrThrow(Tower.decode(Uint8Array.of(...Tower.encode(tower), 0, 0, 7))), tower)
  })

  it("malformed tower: is refused, with the wrong floor", () => {
    const refused = (text: string) => {
      const result = Tower.decode(bytesOf(text))
      return Result.isFailure(result) ? `${result.failure.status} ${result.failure.detail}` : "not refused"
    }
    assert.strictEqual(refused(""), "1751 it has no number of floors")
    assert.strictEqual(refused("05"), "1751 it has no number of floors")
    assert.strictEqual(refused("0000"), "1751 it has 0 floors, which name no protocol")
    assert.strictEqual(refused(`0200${management}${ndr}`), "1751 it has 2 floors, which name no protocol")
    assert.strictEqual(refused(`0300${management}${ndr}`), "1751 floor 3 is cut off")
    assert.strictEqual(refused(`ffff${management}${ndr}`), "1751 floor 3 is cut off")
    assert.strictEqual(refused(`0300${management}${ndr}01000bff7f0000`), "1751 floor 3 is cut off")
    assert.strictEqual(refused(`0300${management}${ndr}0000 0000`), "1751 floor 3 has no protocol")
    assert.strictEqual(refused(`030001000b02000000${ndr}01000b02000000`), "1751 floor 1 is no interface")
    assert.strictEqual(refused(`0300${management}01000b0200000001000b02000000`), "1751 floor 2 is no transfer syntax")
    assert.strictEqual(
      refused(`0300${management.replace("0d", "0e")}${ndr}01000b02000000`),
      "1751 floor 1 is no interface"
    )
  })

  it("tower cut off anywhere: is refused", () => {
    const bytes = Tower.encode(towerAt("ncacn_ip_tcp:10.0.0.1[135]"))
    for (let length = 0; length < bytes.length; length++) {
      assert.isTrue(Result.isFailure(Tower.decode(bytes.subarray(0, length))))
    }
  })

  it("random floors: their bytes read as the same tower, and damaged bytes are read or refused", () => {
    const bytes = fc.uint8Array({ maxLength: 20 })
    const uint16 = fc.integer({ min: 0, max: 0xffff })
    const towers = fc.record({
      interface: fc.record({ uuid: fc.uuid(), version: fc.tuple(uint16, uint16) }),
      transferSyntax: fc.record({ uuid: fc.uuid(), major: uint16, minor: uint16 }),
      floors: fc.array(fc.record({ protocol: fc.integer({ min: 0, max: 255 }), data: bytes, related: bytes }), {
        minLength: 1,
        maxLength: 6
      })
    }, { noNullPrototype: true })
    fc.assert(
      fc.property(towers, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 }), (tower, damage) => {
        const bytes = Tower.encode(tower)
        assert.deepStrictEqual(Tower.decode(bytes), Result.succeed(tower))
        for (const [at, byte] of damage) bytes[at % bytes.length] = byte
        const read = Tower.decode(bytes)
        if (Result.isSuccess(read)) assert.isString(Tower.print(read.success))
        else assert.strictEqual(read.failure.status, 1751)
      }),
      { numRuns: 1000 }
    )
  })
})
