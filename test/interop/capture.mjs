// Records conversations, writes them as a pcap file and asks tshark what it sees in it.
import { Buffer } from "node:buffer"
import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"

// ----------------------------------------------------------------------------
// recording
// ----------------------------------------------------------------------------

/**
 * Listens on a port of its own, passes every connection on to the port `target`, and records it: a conversation is a list of segments
 * `{ fromClient, bytes }` in the order in which they passed. `change` may change the bytes first.
 */
export const record = async (target, { change = () => {}, host = "127.0.0.1" } = {}) => {
  const conversations = []
  const server = net.createServer((client) => {
    const segments = []
    conversations.push(segments)
    const peer = net.connect(target, host)
    const pass = (from, to, fromClient) => {
      from.on("data", (bytes) => {
        change(bytes, fromClient)
        segments.push({ fromClient, bytes: Buffer.from(bytes) })
        to.write(bytes)
      })
      from.on("close", () => to.end())
      from.on("error", () => to.destroy())
    }
    pass(client, peer, true)
    pass(peer, client, false)
  })
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve))
  return { port: server.address().port, conversations, close: () => server.close() }
}

const bytesOf = (conversation, fromClient) =>
  Buffer.concat(conversation.filter((segment) => segment.fromClient === fromClient).map(({ bytes }) => bytes))

/** Where the PDUs of one direction begin. What is left at the end and is none counts as one that begins. */
export const pdusIn = (bytes) => {
  const starts = []
  for (let start = 0; start < bytes.length;) {
    starts.push(start)
    const littleEndian = (bytes[start + 4] & 0xf0) !== 0
    const length = bytes.length - start < 16
      ? 0
      : littleEndian
      ? bytes.readUInt16LE(start + 8)
      : bytes.readUInt16BE(start + 8)
    start = length < 16 ? bytes.length : start + length
  }
  return starts
}

/** The types of the PDUs of one direction. */
export const typesOf = (conversation, fromClient) => {
  const bytes = bytesOf(conversation, fromClient)
  return pdusIn(bytes).map((start) => bytes[start + 2])
}

/**
 * Whether tshark 4.0 can't decrypt what NTLM has encrypted. Within Negotiate it does not start the key stream anew behind the login, also
 * not between programs of Samba. Without Negotiate a body of less than 12 bytes is malformed to it.
 */
export const isBeyondTshark = (conversation) => {
  const sides = [true, false].map((fromClient) => bytesOf(conversation, fromClient))
  const bind = sides[0].subarray(0, pdusIn(sides[0])[1])
  // The security trailer ends the PDU: type, level, six bytes, and then the token.
  const trailer = bind.includes("NTLMSSP") ? bind.length - bind.readUInt16LE(10) - 8 : 0
  if (trailer <= 0 || bind[trailer + 1] !== 6) return false
  return bind[trailer] === 9 || sides.some((bytes) =>
    pdusIn(bytes).some((start) => {
      const isProtected = [0, 2].includes(bytes[start + 2]) && bytes.readUInt16LE(start + 10) > 0
      return isProtected && bytes.readUInt16LE(start + 8) - bytes.readUInt16LE(start + 10) - 24 - 8 < 12
    })
  )
}

/** The conversation with the bytes of one direction changed; they may become fewer. */
export const tamper = (conversation, fromClient, change) => {
  const changed = change(bytesOf(conversation, fromClient))
  let start = 0
  return conversation.map((segment) => {
    if (segment.fromClient !== fromClient) return segment
    const bytes = changed.subarray(start, start += segment.bytes.length)
    return { fromClient, bytes }
  })
}

// ----------------------------------------------------------------------------
// pcap
// ----------------------------------------------------------------------------

const segmentSize = 1460
const flags = { fin: 0x01, syn: 0x02, push: 0x08, ack: 0x10 }

const checksum = (...parts) => {
  let sum = 0
  for (const part of parts) {
    for (let i = 0; i < part.length; i++) sum += i % 2 === 0 ? part[i] << 8 : part[i]
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000)
  return ~sum & 0xffff
}

const ethernet = Buffer.from("0200000000020200000000010800", "hex")

const frame = (from, to, flagBits, payload) => {
  const ip = Buffer.alloc(20)
  ip[0] = 0x45
  ip.writeUInt16BE(40 + payload.length, 2)
  ip[8] = 64
  ip[9] = 6
  ip.set(from.address, 12)
  ip.set(to.address, 16)
  ip.writeUInt16BE(checksum(ip), 10)

  const tcp = Buffer.alloc(20)
  tcp.writeUInt16BE(from.port, 0)
  tcp.writeUInt16BE(to.port, 2)
  tcp.writeUInt32BE(from.sequence % 2 ** 32, 4)
  if ((flagBits & flags.ack) !== 0) tcp.writeUInt32BE(to.sequence % 2 ** 32, 8)
  tcp[12] = 0x50
  tcp[13] = flagBits
  tcp.writeUInt16BE(0xffff, 14)
  const pseudoHeader = Buffer.from([...from.address, ...to.address, 0, 6, 0, 0])
  pseudoHeader.writeUInt16BE(20 + payload.length, 10)
  tcp.writeUInt16BE(checksum(pseudoHeader, tcp, payload), 16)

  const ends = (flagBits & (flags.syn | flags.fin)) !== 0
  from.sequence += payload.length + (ends ? 1 : 0)
  return Buffer.concat([ethernet, ip, tcp, payload])
}

const none = Buffer.alloc(0)
const serverPort = 49664
const firstClientPort = 50000

/** One TCP connection from its handshake to its end, every segment acknowledged. */
const framesOf = (conversation, index) => {
  const client = { address: [192, 0, 2, 1], port: firstClientPort + index, sequence: 1000 }
  const server = { address: [192, 0, 2, 2], port: serverPort, sequence: 5000 }
  const frames = [
    frame(client, server, flags.syn, none),
    frame(server, client, flags.syn | flags.ack, none),
    frame(client, server, flags.ack, none)
  ]
  for (const { bytes, fromClient } of conversation) {
    const [from, to] = fromClient ? [client, server] : [server, client]
    for (let start = 0; start < bytes.length; start += segmentSize) {
      frames.push(frame(from, to, flags.push | flags.ack, bytes.subarray(start, start + segmentSize)))
      frames.push(frame(to, from, flags.ack, none))
    }
  }
  frames.push(frame(client, server, flags.fin | flags.ack, none))
  frames.push(frame(server, client, flags.fin | flags.ack, none))
  frames.push(frame(client, server, flags.ack, none))
  return frames
}

const pcap = (conversations) => {
  const header = Buffer.alloc(24)
  header.writeUInt32LE(0xa1b2c3d4, 0)
  header.writeUInt16LE(2, 4)
  header.writeUInt16LE(4, 6)
  header.writeUInt32LE(0x40000, 16)
  header.writeUInt32LE(1, 20)
  const records = conversations.flatMap(framesOf).flatMap((bytes, index) => {
    const record = Buffer.alloc(16)
    record.writeUInt32LE(1_700_000_000 + Math.floor(index / 1e6), 0)
    record.writeUInt32LE(index % 1e6, 4)
    record.writeUInt32LE(bytes.length, 8)
    record.writeUInt32LE(bytes.length, 12)
    return [record, bytes]
  })
  return Buffer.concat([header, ...records])
}

// ----------------------------------------------------------------------------
// tshark
// ----------------------------------------------------------------------------

const fields = [
  "frame.number",
  "tcp.srcport",
  "tcp.dstport",
  "frame.protocols",
  "dcerpc.pkt_type",
  "dcerpc.encrypted_stub_data",
  "dcerpc.decrypted_stub_data"
]
const expertFields = ["_ws.expert.severity", "_ws.expert.message"]
const warning = 0x600000

/** What tshark decrypts with: the password of an NTLM user, and a keytab with the keys of Kerberos. */
const settingsOf = ({ keytab, password }) => [
  "ip.check_checksum:TRUE",
  "tcp.check_checksum:TRUE",
  ...password === undefined ? [] : [`ntlmssp.nt_password:${password}`],
  ...keytab === undefined ? [] : ["kerberos.decrypt:TRUE", `kerberos.file:${keytab}`]
]

const tshark = (file, folder, keys) => {
  const { error, status, stderr, stdout } = spawnSync(
    "tshark",
    [
      "-r",
      file,
      "-n",
      // Its heuristics lose a stream where the header of a PDU is cut by the end of a segment.
      "-d",
      `tcp.port==${serverPort},dcerpc`,
      ...settingsOf(keys).flatMap((preference) => ["-o", preference]),
      "-T",
      "fields",
      ...["separator=/t", "occurrence=a", "aggregator=|"].flatMap((setting) => ["-E", setting]),
      ...[...fields, ...expertFields].flatMap((field) => ["-e", field])
    ],
    { encoding: "utf8", maxBuffer: Infinity, env: { ...process.env, WIRESHARK_CONFIG_DIR: folder } }
  )
  if (status !== 0) throw new Error(`tshark failed: ${error?.message ?? stderr}`)
  return stdout.split("\n").filter((line) => line !== "").map((line) => line.split("\t"))
}

/**
 * What tshark finds wrong with conversations: PDUs that it does not decode as DCE/RPC of the expected type, malformed packets,
 * and expert items of the severity "warning" or worse, except those that are known. `expected` are conversations with the same PDUs.
 * Where there are `keys`, a conversation that is encrypted and of which it decrypts nothing is a problem too.
 */
export const problemsOf = (conversations, { expected = conversations, keys, known = /^$/ } = {}) => {
  const folder = mkdtempSync(join(tmpdir(), "callisto-interop-"))
  try {
    const file = join(folder, "conversations.pcap")
    writeFileSync(file, pcap(conversations))
    const problems = []
    const seen = conversations.map(() => ({ true: [], false: [], encrypted: false, decrypted: false }))
    for (const row of tshark(file, folder, keys ?? {})) {
      const [number, from, to, protocols, types, encrypted, decrypted, severities = "", messages = ""] = row
      const fromClient = Number(to) === serverPort
      const index = (fromClient ? Number(from) : Number(to)) - firstClientPort
      if (types !== "") seen[index][fromClient].push(...types.split("|").map(Number))
      if (encrypted) seen[index].encrypted = true
      if (decrypted) seen[index].decrypted = true
      if (/_ws\.|malformed/.test(protocols)) problems.push(`frame ${number}: ${protocols}`)
      const severity = severities.split("|").map(Number)
      for (const [i, message] of messages.split("|").entries()) {
        if (severity[i] >= warning && !known.test(message)) problems.push(`frame ${number}: ${message}`)
      }
    }
    expected.forEach((conversation, index) => {
      const { decrypted, encrypted } = seen[index]
      if (keys !== undefined && encrypted && !decrypted) problems.push(`conversation ${index}: nothing is decrypted`)
      for (const fromClient of [true, false]) {
        const wanted = typesOf(conversation, fromClient).join()
        const found = seen[index][fromClient].join()
        const side = fromClient ? "client" : "server"
        if (found !== wanted) problems.push(`conversation ${index}, ${side}: types ${found} instead of ${wanted}`)
      }
    })
    return problems
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
