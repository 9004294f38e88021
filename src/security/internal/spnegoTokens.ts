/** The tokens of SPNEGO. Mechanisms stand for themselves as whole elements, so that unknown ones need not be understood. */
import { equalBytes } from "./constantTime.ts"
import * as Der from "./der.ts"

/** The largest token. */
export const maxToken = 65_536

/** The most mechanisms that an initiator may offer. */
export const maxMechanisms = 16

const spnego = Der.oid("1.3.6.1.5.5.2")

/** States of a login, as the acceptor reports them. */
export const state = { completed: 0, incomplete: 1, rejected: 2, micRequested: 3 } as const

/** The first token of an initiator. */
export interface Init {
  /** The mechanisms, the best first. */
  readonly mechanisms: ReadonlyArray<Uint8Array>
  /** The list of mechanisms as it was sent: what both sides sign. */
  readonly list: Uint8Array
  readonly token?: Uint8Array | undefined
  readonly mic?: Uint8Array | undefined
}

/** All other tokens. */
export interface Response {
  readonly state?: number | undefined
  readonly mechanism?: Uint8Array | undefined
  readonly token?: Uint8Array | undefined
  readonly mic?: Uint8Array | undefined
}

const mechanismTag = 0x06
const octetsTag = 0x04

const readMechanism = (reader: Der.DerReader): Uint8Array => {
  if (reader.tag !== mechanismTag) throw new Der.DerFailure("SPNEGO: a mechanism is no object identifier")
  return reader.element().slice()
}

/** Reads the fields of a sequence by their tags, which ascend. Unknown ones are skipped. */
const readFields = (reader: Der.DerReader, fields: Record<number, (reader: Der.DerReader) => void>): void =>
  reader.sequence((reader) => {
    let last = -1
    for (let tag = reader.tag; tag !== undefined; tag = reader.tag) {
      if (tag <= last) throw new Der.DerFailure("SPNEGO: a field stands twice or in the wrong place")
      last = tag
      const read = fields[tag]
      if (read === undefined) reader.element()
      else reader.inside(tag, read)
    }
  })

const levels = 4

const withPrefix = <A>(read: A | Der.DerFailure): A | string => read instanceof Der.DerFailure ? read.message : read

const tooLong = (bytes: Uint8Array): string | undefined =>
  bytes.length > maxToken ? `the token is too long, got ${bytes.length} bytes, expected at most ${maxToken}` : undefined

/** The first token, or its problem. */
export const parseInit = (bytes: Uint8Array): Init | string =>
  tooLong(bytes) ?? withPrefix(Der.decode(bytes, (reader) =>
    reader.application(0, (reader) => {
      if (!equalBytes(reader.element(), spnego)) {
        throw new Der.DerFailure("SPNEGO: the token is one of another protocol")
      }
      let list: Uint8Array | undefined
      let token: Uint8Array | undefined
      let mic: Uint8Array | undefined
      reader.field(0, (reader) =>
        readFields(reader, {
          0xa0: (reader) => {
            list = reader.element().slice()
          },
          0xa2: (reader) => {
            token = reader.octets()
          },
          // A server that speaks first sends hints here, and its check sum in the next field.
          0xa3: (reader) => {
            if (reader.tag === octetsTag) mic = reader.octets()
            else reader.element()
          },
          0xa4: (reader) => {
            mic = reader.octets()
          }
        }))
      const mechanisms = Der.decode(list ?? new Uint8Array(0), (reader) => reader.list(readMechanism, maxMechanisms))
      if (mechanisms instanceof Der.DerFailure) throw mechanisms
      return { mechanisms, list: list!, token, mic }
    }), levels))

/** A later token, or its problem. */
export const parseResponse = (bytes: Uint8Array): Response | string =>
  tooLong(bytes) ?? withPrefix(Der.decode(bytes, (reader) =>
    reader.field(1, (reader) => {
      const response: { -readonly [K in keyof Response]: Response[K] } = {}
      readFields(reader, {
        0xa0: (reader) => {
          const value = reader.enumerated()
          if (value < 0 || value > 3) throw new Der.DerFailure(`SPNEGO: unknown state, got ${value}, expected 0 to 3`)
          response.state = value
        },
        0xa1: (reader) => {
          response.mechanism = readMechanism(reader)
        },
        0xa2: (reader) => {
          response.token = reader.octets()
        },
        0xa3: (reader) => {
          response.mic = reader.octets()
        }
      })
      // Windows 2000 copies its token there.
      if (response.mic !== undefined && response.token !== undefined && equalBytes(response.mic, response.token)) {
        response.mic = undefined
      }
      return response
    }), levels))

const optional = (bytes: Uint8Array | undefined): Uint8Array | undefined =>
  bytes === undefined ? undefined : Der.octets(bytes)

/** The list of mechanisms. */
export const encodeList = (mechanisms: ReadonlyArray<Uint8Array>): Uint8Array => Der.sequence(...mechanisms)

/** The first token. */
export const encodeInit = ({ list, token }: { readonly list: Uint8Array; readonly token: Uint8Array }): Uint8Array =>
  Der.application(0, spnego, Der.field(0, Der.sequence(Der.field(0, list), Der.field(2, Der.octets(token)))))

/** A later token. */
export const encodeResponse = (response: Response): Uint8Array =>
  Der.field(
    1,
    Der.sequence(
      Der.field(0, response.state === undefined ? undefined : Der.enumerated(response.state)),
      Der.field(1, response.mechanism),
      Der.field(2, optional(response.token)),
      Der.field(3, optional(response.mic))
    )
  )
