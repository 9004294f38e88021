/**
 * The bindings of a login to a TLS connection.
 */
import { md5 } from "./md5.ts"

const prefix = new TextEncoder().encode("tls-server-end-point:")

/** The MD5 of the structure that NTLM and Kerberos carry: no addresses, and the hash of the server's certificate. */
export const channelBindingsOf = (serverEndPoint: Uint8Array | undefined): Uint8Array | undefined => {
  if (serverEndPoint === undefined) return undefined
  const header = new Uint8Array(20)
  new DataView(header.buffer).setUint32(16, prefix.length + serverEndPoint.length, true)
  return md5(header, prefix, serverEndPoint)
}
