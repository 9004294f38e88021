/** A login over TLS is bound to the certificate of the server. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted, Result, Schema } from "effect"
import { createHash, X509Certificate } from "node:crypto"
import { Call, Interface, Manager, Server } from "../../mod.ts"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as NodeTransport from "../../src/node.ts"
import { channelBindingsOf } from "../../src/security/internal/channelBindings.ts"
import * as Ntlm from "../../src/security/Ntlm.ts"
import * as Security from "../../src/security/Security.ts"
import * as StringBinding from "../../src/transport/StringBinding.ts"
import * as Transport from "../../src/transport/Transport.ts"

// Made for these tests, and trusted by nobody else. One is signed with SHA-256, the other with SHA-384.
const certificates = {
  sha256: {
    cert: `-----BEGIN CERTIFICATE-----
MIIBmjCCAUGgAwIBAgIUWb6RLsEHI8XVgX12ypUyhiZ/tSYwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNzIzMjYxM1oYDzIxMjYxMTAz
MjMyNjEzWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATLDRNfQGcaNrjv/g56iR1jpK9YuDcQsHwMsWIQP7loEotz9ifn0Hdm
Y4bLTYERyOxUjQj9QUulVDur5FA8eJnEo28wbTAdBgNVHQ4EFgQUzwtaAkW2OPU4
q4MQiQ+ExjiVSdMwHwYDVR0jBBgwFoAUzwtaAkW2OPU4q4MQiQ+ExjiVSdMwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDRwAwRAIgUo8b9A1W4lAfU3/yT2kp4+65QAViuzrNoCBeGq1YmKQCIBNS
qVvqTc+B4w5wtMPXzn7xc4ZYA9BM6+M6aVGEwrQq
-----END CERTIFICATE-----`,
    key: Redacted.make(`-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgDtEOXhIn9NaaCAOG
aYH2Ll4aGZYwl6WI+WOOT7zSLOOhRANCAATLDRNfQGcaNrjv/g56iR1jpK9YuDcQ
sHwMsWIQP7loEotz9ifn0HdmY4bLTYERyOxUjQj9QUulVDur5FA8eJnE
-----END PRIVATE KEY-----`)
  },
  sha384: {
    cert: `-----BEGIN CERTIFICATE-----
MIIBmjCCAUGgAwIBAgIUUO1XTHOdVbXwtRnYIZtfxFdTL28wCgYIKoZIzj0EAwMw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNzIzMjYxM1oYDzIxMjYxMTAz
MjMyNjEzWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQ5Hj87DB25CdkmpZHEjplhLIfg4IbsOFKUPr0+0XIjLHRjryQhlBuo
dtkta2CIDmB56wKIt4eJcJz82ona3zNEo28wbTAdBgNVHQ4EFgQUuYUxDSmRIZli
lY3cMPO56HiMrGswHwYDVR0jBBgwFoAUuYUxDSmRIZlilY3cMPO56HiMrGswDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwMDRwAwRAIgITUr3rVjUfibQNP74PMCSZ1jeROKKyV0j9JuN+bj42ACIE6/
vsV+UNCyCiqa5cb0N1aABO4E371+SOQK7Aqs3/3M
-----END CERTIFICATE-----`,
    key: Redacted.make(`-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgB8FNIMHJ8Jbu+XA6
+ih79AnKn0AScmOGSRmlD+ZrqPGhRANCAAQ5Hj87DB25CdkmpZHEjplhLIfg4Ibs
OFKUPr0+0XIjLHRjryQhlBuodtkta2CIDmB56wKIt4eJcJz82ona3zNE
-----END PRIVATE KEY-----`)
  }
}

const IEcho = Interface.make("IEcho", {
  methods: { Echo: Interface.method({ in: Schema.String, out: Schema.String }) }
})

const password = Redacted.make("correct horse")
const accounts: Ntlm.Accounts = () => ({ ntHash: Ntlm.hash(password) })
const security = Security.make({ provider: Ntlm.client, credentials: { user: "alice", password } })

const call = (protocol: string, channelBindings: "always" | "whenSupported" | "never") =>
  Effect.gen(function* () {
    const server = yield* Server.make([Manager.make(IEcho, { Echo: Effect.succeed })])
    const { address } = yield* Endpoint.serve(server, `${protocol}:localhost[0]`, {
      security: [Ntlm.server(accounts, { channelBindings })]
    })
    const binding = yield* Association.bind(IEcho, StringBinding.print(address), { security })
    return yield* Call.invoke(binding, "Echo", "hello")
  }).pipe(Effect.scoped, Effect.exit)

describe("channel bindings", () => {
  for (const [hash, { cert, key }] of Object.entries(certificates)) {
    it.effect(`TLS with a certificate signed with ${hash}: both sides know its hash, and a login that needs it succeeds`, () =>
      Effect.gen(function* () {
        const transport = yield* Transport.Transport
        const expected = new Uint8Array(createHash(hash).update(new X509Certificate(cert).raw).digest())
        let accepted: Uint8Array | undefined
        const { address } = yield* transport.listen(
          Result.getOrThrow(StringBinding.parse("ncacn_ip_tls:localhost[0]")),
          ({ serverEndPoint }) => Effect.andThen(Effect.sync(() => accepted = serverEndPoint), Effect.never)
        )
        const { serverEndPoint } = yield* transport.connect(address)
        assert.deepStrictEqual(serverEndPoint, expected)
        assert.deepStrictEqual(accepted, expected)
        assert.strictEqual((yield* call("ncacn_ip_tls", "always"))._tag, "Success")
      }).pipe(Effect.provide(NodeTransport.layerTls({ ca: cert, cert, key }))))
  }

  it.effect("no TLS, a server that always wants them: the login fails", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* call("ncacn_ip_tcp", "always"))._tag, "Failure")
      assert.strictEqual((yield* call("ncacn_ip_tcp", "whenSupported"))._tag, "Success")
    }).pipe(Effect.provide(NodeTransport.layer)))

  it("the structure that is hashed: 20 bytes without addresses, the prefix and the hash", () => {
    const serverEndPoint = Uint8Array.from({ length: 32 }, (_, index) => index)
    const text = new TextEncoder().encode("tls-server-end-point:")
    const whole = Uint8Array.from([...new Uint8Array(16), 53, 0, 0, 0, ...text, ...serverEndPoint])
    assert.deepStrictEqual(channelBindingsOf(serverEndPoint), new Uint8Array(createHash("md5").update(whole).digest()))
    assert.isUndefined(channelBindingsOf(undefined))
  })
})
