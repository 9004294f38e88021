// Interoperability of the wire protocol. Our example server and client talk to each other on all runtimes and to impacket, an
// implementation in Python; tshark looks at what they said. Our endpoint mapper is asked by impacket, and that of Samba by our client.
// A link between two network namespaces goes down in the middle of calls. Samba's smbtorture tests our example server where it is
// installed. A domain controller of Samba knows users, whom our client logs in to it, and who log in to our server by Samba's and
// impacket's clients. Needs the Debian packages tshark, python3-impacket, samba, samba-ad-provision, samba-dsdb-modules,
// samba-vfs-modules, smbclient and iproute2, and root, because endpoint mappers have port 135; smbtorture is in samba-testsuite.
import { Buffer } from "node:buffer"
import { spawn, spawnSync } from "node:child_process"
import net from "node:net"
import { join } from "node:path"
import process from "node:process"
import { setTimeout } from "node:timers/promises"
import { isBeyondTshark, pdusIn, problemsOf, record, tamper, typesOf } from "../test/interop/capture.mjs"
import { lacking, startDomain } from "../test/interop/domain.mjs"
import { makeLink } from "../test/interop/namespaces.mjs"
import { isInstalled as isSambaInstalled, startSamba } from "../test/interop/samba.mjs"
import { findRuntime, leftOut, requireDependencies, root } from "./runtimes.mjs"

requireDependencies()

let passed = 0
let failed = 0

const test = (name, problem) => {
  if (problem === undefined) passed++
  else failed++
  console.log(problem === undefined ? `ok     ${name}` : `FAILED ${name}: ${problem}`)
}

const works = (command, ...args) => spawnSync(command, args, { stdio: "ignore" }).status === 0

const python = ["/usr/bin/python3", "python3"].find((command) => works(command, "-c", "import impacket"))
const missing = [
  ...(works("tshark", "--version") ? [] : ["tshark"]),
  ...(python === undefined ? ["impacket"] : []),
  ...new Set([...isSambaInstalled ? [] : ["samba"], ...lacking])
]
if (missing.length > 0) {
  console.log(
    `No ${
      missing.join(", no ")
    } here: apt-get install tshark python3-impacket samba samba-ad-provision samba-dsdb-modules ` +
      "samba-vfs-modules smbclient samba-testsuite"
  )
  console.log(`0 passed, ${missing.length} failed`)
  process.exit(1)
}

const hasTorture = works("smbtorture", "--list")
if (!hasTorture) console.log("smbtorture is left out, because it is not installed: apt-get install samba-testsuite")

// ----------------------------------------------------------------------------
// programs
// ----------------------------------------------------------------------------

const running = new Set()

/** Starts a program; `lines` are those that it has printed, `ended` is its exit code. */
const start = (command, args, env = process.env) => {
  const child = spawn(command, args, { cwd: root, env, stdio: ["ignore", "pipe", "pipe"] })
  running.add(child)
  // Deno tells no exit code of a child that was ended with child.kill.
  const program = { lines: [], kill: () => process.kill(child.pid, "SIGTERM") }
  let rest = ""
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => {
      const lines = (rest + text).split("\n")
      rest = lines.pop()
      program.lines.push(...lines)
    })
  }
  program.ended = new Promise((resolve) => {
    const end = (status) => {
      running.delete(child)
      resolve(status)
    }
    child.on("error", (error) => {
      program.lines.push(error.message)
      end("none")
    })
    child.on("close", end)
  })
  return program
}

const ours = ({ command, program }, file, ...args) => start(command, [...program, file, ...args])

const theirs = (file, ...args) => start(python, ["-u", join("test", "interop", file), ...args])

/** The port of a server that prints where it listens; `title` is the word in front of that, where it has one. */
const portOf = async (server, title = "") => {
  const pattern = new RegExp(`^listening ${title}.*?(\\d+)\\]?$`)
  for (let waited = 0; waited < 30_000; waited += 20) {
    const port = server.lines.map((line) => pattern.exec(line)?.[1]).find((found) => found !== undefined)
    if (port !== undefined) return Number(port)
    await setTimeout(20)
  }
  throw new Error(`The server does not listen: ${server.lines.join(" ")}`)
}

/** Runs a program that prints `ok` or `not ok` for each of its tests. */
const runTests = async (title, program) => {
  const status = await program.ended
  let tests = 0
  for (const line of program.lines) {
    const [, not, name, problem] = /^(not )?ok ([^:]*)(?:: (.*))?$/.exec(line) ?? []
    if (name === undefined) continue
    tests++
    test(`${title}: ${name}`, not && (problem ?? "no reason given"))
  }
  if (status !== 0 || tests === 0) test(title, `exit code ${status}: ${program.lines.slice(-3).join(" ")}`)
}

// ----------------------------------------------------------------------------
// what tshark sees
// ----------------------------------------------------------------------------

const types = {
  request: 0,
  response: 2,
  fault: 3,
  bind: 11,
  bindAck: 12,
  alterContext: 14,
  alterContextResponse: 15,
  auth3: 16,
  shutdown: 17,
  coCancel: 18,
  orphaned: 19
}

const look = (title, conversations, client, server, { keys, known } = {}) => {
  const readable = conversations.filter((conversation) => keys === undefined || !isBeyondTshark(conversation))
  const others = conversations.filter((conversation) => !readable.includes(conversation))
  const problems = [...problemsOf(readable, { keys, known }), ...others.length > 0 ? problemsOf(others, { known }) : []]
  for (const [fromClient, names] of [[true, client], [false, server]]) {
    const found = new Set(conversations.flatMap((conversation) => typesOf(conversation, fromClient)))
    for (const name of names) if (!found.has(types[name])) problems.push(`there is no ${name}`)
  }
  const count =
    conversations.flatMap((conversation) => [true, false].flatMap((side) => typesOf(conversation, side))).length
  test(
    `tshark: ${title}, ${count} PDUs in ${conversations.length} connections`,
    problems.slice(0, 5).join("; ") || undefined
  )
}

/** Each way to spoil one direction of a conversation, given where its PDUs begin. */
const spoils = {
  "a fragment's length too large": (bytes, starts) =>
    bytes.writeUInt16LE(bytes.readUInt16LE(starts[2] + 8) + 8, starts[2] + 8),
  "a fragment's length too small": (bytes, starts) =>
    bytes.writeUInt16LE(bytes.readUInt16LE(starts[2] + 8) - 8, starts[2] + 8),
  "a length below that of the header": (bytes, starts) => bytes.writeUInt16LE(8, starts[2] + 8),
  "an unknown type": (bytes, starts) => bytes.writeUInt8(99, starts[2] + 2),
  "another type": (bytes, starts) => bytes.writeUInt8(types.fault, starts[2] + 2),
  "another version": (bytes, starts) => bytes.writeUInt8(4, starts[2]),
  "a cut in the middle": (bytes) => bytes.subarray(0, bytes.length - 4),
  "a missing byte": (bytes, starts) => Buffer.concat([bytes.subarray(0, starts[2]), bytes.subarray(starts[2] + 1)])
}

const lookAtSpoiled = (conversation) => {
  for (const [title, spoil] of Object.entries(spoils)) {
    const spoiled = tamper(conversation, false, (original) => {
      const bytes = Buffer.from(original)
      const result = spoil(bytes, pdusIn(bytes))
      return Buffer.isBuffer(result) ? result : bytes
    })
    const [problem] = problemsOf([spoiled], { expected: [conversation] })
    test(`tshark finds ${title}`, problem === undefined ? "it did not" : undefined)
  }
}

// ----------------------------------------------------------------------------
// the conversations
// ----------------------------------------------------------------------------

/** Our client and impacket against our server. Gives what was said on the client's connection. */
const serverOn = async (runtime, clientRuntime) => {
  const server = ours(runtime, "examples/rpcecho_server.ts", "--port", "0")
  const proxy = await record(await portOf(server))
  const binding = `ncacn_ip_tcp:127.0.0.1[${proxy.port}]`

  const client = ours(clientRuntime, "examples/rpcecho_client.ts", binding)
  const title = `client on ${clientRuntime.title}, server on ${runtime.title}`
  const status = await client.ended
  test(
    `${title}: the client's calls`,
    status === 0 ? undefined : `exit code ${status}: ${client.lines.slice(-3).join(" ")}`
  )
  const own = proxy.conversations.splice(0)
  look(title, own, ["bind", "request", "coCancel", "orphaned"], ["bindAck", "response", "fault"])

  await runTests(
    `impacket calls the server on ${runtime.title}`,
    theirs("impacket_client.py", "127.0.0.1", String(proxy.port))
  )
  look(`impacket and the server on ${runtime.title}`, proxy.conversations.splice(0), [
    "bind",
    "alterContext",
    "request"
  ], [
    "bindAck",
    "alterContextResponse",
    "response",
    "fault"
  ])

  // A request before the bind is refused, which tshark rightly remarks on.
  await talk(proxy.port, Buffer.from("050000031000000018000000020000000000000000000200", "hex"))
  const remarks = problemsOf(proxy.conversations.splice(0))
  const refused = remarks.length === 1 && remarks[0].endsWith(": Bind not acknowledged")
  test(`tshark: refusal by the server on ${runtime.title}`, refused ? undefined : remarks.join("; "))

  // A client that is bound hears of the shutdown.
  const told = talk(proxy.port, own[0][0].bytes)
  while (typesOf(proxy.conversations[0] ?? [], false).length === 0) await setTimeout(10)
  server.kill()
  await told
  look(`shutdown of the server on ${runtime.title}`, proxy.conversations, ["bind"], ["bindAck", "shutdown"])
  const serverStatus = await server.ended
  test(`SIGTERM ends the server on ${runtime.title}`, serverStatus === 0 ? undefined : `exit code ${serverStatus}`)
  const reasons = server.lines.filter((line) => line.startsWith("TestSleep(")).map((line) => line.split(": ")[1]).join()
  test(`${title}: the server saw a cancel and an orphan`, reasons === "Cancelled,Orphaned" ? undefined : reasons)
  proxy.close()
  return own[0]
}

/** Sends bytes and waits until the other side closes. */
const talk = (port, bytes) =>
  new Promise((resolve, reject) => {
    const conn = net.connect(port, "127.0.0.1", () => conn.write(bytes))
    conn.resume()
    conn.on("close", resolve)
    conn.on("error", reject)
  })

/** The tests of rpcecho in Samba's suite, against our server. */
const tortureOn = async (runtime) => {
  const server = ours(runtime, "examples/rpcecho_server.ts", "--port", "0")
  const proxy = await record(await portOf(server))
  const torture = start("smbtorture", [`ncacn_ip_tcp:127.0.0.1[${proxy.port}]`, "-U%", "rpc.echo"])
  await torture.ended
  const title = `smbtorture rpc.echo and the server on ${runtime.title}`
  let tests = 0
  for (const [index, line] of torture.lines.entries()) {
    const [, outcome, name] = /^(success|failure|error|skip): (echo\.\w+)/.exec(line) ?? []
    if (outcome === undefined) continue
    tests++
    test(`${title}: ${name}`, outcome === "success" ? undefined : torture.lines[index + 1])
  }
  test(`${title}: all of them`, tests === 10 ? undefined : `${tests} of 10 ran: ${torture.lines.slice(-3).join(" ")}`)
  look(title, proxy.conversations, ["bind", "request"], ["bindAck", "response"])
  proxy.close()
  server.kill()
  await server.ended
}

/** Our client against impacket's server. */
const clientOn = async (runtime) => {
  const server = theirs("impacket_server.py")
  const proxy = await record(await portOf(server))
  const binding = `ncacn_ip_tcp:127.0.0.1[${proxy.port}]`
  await runTests(`the client on ${runtime.title} calls impacket`, ours(runtime, "test/interop/client.ts", binding))
  look(`the client on ${runtime.title} and impacket`, proxy.conversations, ["bind", "request"], [
    "bindAck",
    "response",
    "fault"
  ])
  proxy.close()
  server.kill()
  await server.ended
}

/** An interface with ordinary schemas, in our own transfer syntax with its larger fragments. */
const filesOn = async (runtime, clientRuntime) => {
  const server = ours(runtime, "examples/files_server.ts", "--port", "0", "--web-port", "0", "src")
  const proxy = await record(await portOf(server))
  const client = ours(clientRuntime, "examples/files_client.ts", `ncacn_ip_tcp:127.0.0.1[${proxy.port}]`)
  const title = `files, client on ${clientRuntime.title}, server on ${runtime.title}`
  const status = await client.ended
  test(title, status === 0 ? undefined : `exit code ${status}: ${client.lines.slice(-3).join(" ")}`)
  look(title, proxy.conversations, ["bind", "request"], ["bindAck", "response"])
  proxy.close()
  server.kill()
  await server.ended
}

// tshark does not know the towers of local RPC.
const localTowers = /not decoded yet for proto_id 0xc$/

/** impacket asks our endpoint mapper. */
const mapperOn = async (runtime) => {
  const server = ours(runtime, "test/interop/mapper_server.ts")
  const proxy = await record(await portOf(server))
  await runTests(
    `impacket asks the endpoint mapper on ${runtime.title}`,
    theirs("impacket_mapper.py", "127.0.0.1", String(proxy.port))
  )
  look(
    `impacket and the endpoint mapper on ${runtime.title}`,
    proxy.conversations,
    ["bind", "request"],
    ["bindAck", "response", "fault"],
    { known: localTowers }
  )
  proxy.close()
  server.kill()
  await server.ended
}

// Nor does it get to the end of a page in which Samba numbers the pointers from 2 on.
const pagesOfSamba = new RegExp(`${localTowers.source}|^Long frame$`)

/** Our client asks the endpoint mapper of Samba, and calls a service that it has found there. */
const sambaOn = async (runtime, samba) => {
  const proxy = await record(135)
  const binding = `ncacn_ip_tcp:127.0.0.1[${proxy.port}]`
  await runTests(
    `the client on ${runtime.title} asks Samba`,
    ours(runtime, "test/interop/samba_client.ts", binding, samba.socket)
  )
  const stats = ours(runtime, "src/cli.ts", "stats", binding, "--json")
  const counted = await stats.ended === 0 && Number.isInteger(JSON.parse(stats.lines[0]).packetsOut)
  test(`callisto stats on ${runtime.title} asks Samba`, counted ? undefined : stats.lines.join(" "))
  for (
    const [example, machine, ...expected] of [
      ["list_services", samba.services, /^(?:runs |stops) Spooler: /, /^Spooler starts /],
      ["list_shares", "ncacn_ip_tcp:127.0.0.1", /^IPC\$: STYPE_HIDDEN_IPC /, /^The clock of the server says /]
    ]
  ) {
    const program = ours(runtime, `examples/${example}.ts`, machine)
    const status = await program.ended
    const isRight = status === 0 && expected.every((line) => program.lines.some((said) => line.test(said)))
    test(`examples/${example}.ts on ${runtime.title} asks Samba`, isRight ? undefined : program.lines.join(" "))
  }
  for (
    const [words, isRight] of [
      [
        ["ncacn_ip_tcp:127.0.0.1", "examples/srvsvc.idl", "NetrRemoteTOD"],
        (said) => /"result": 0/.test(said) && /"tod_year": 2\d{3}/.test(said)
      ],
      [
        [
          samba.services,
          "examples/svcctl.idl",
          "ROpenSCManagerW",
          '{"dwDesiredAccess": 5}',
          "REnumServicesStatusW",
          '{"dwServiceType": 48, "dwServiceState": 3, "cbBufSize": 4096}',
          "RCloseServiceHandle"
        ],
        (said) => said.match(/"result": 0/g)?.length === 3 && /"lpServicesReturned": [1-9]/.test(said)
      ]
    ]
  ) {
    const call = ours(runtime, "src/cli.ts", "call", ...words)
    const status = await call.ended
    const said = call.lines.join("\n")
    test(
      `callisto call on ${runtime.title} asks Samba for ${words[2]}`,
      status === 0 && isRight(said) ? undefined : said
    )
  }
  look(
    `the client on ${runtime.title} and the endpoint mapper of Samba`,
    proxy.conversations,
    ["bind", "request"],
    ["bindAck", "response", "fault"],
    { known: pagesOfSamba }
  )
  proxy.close()
}

// ----------------------------------------------------------------------------
// security
// ----------------------------------------------------------------------------

/** Our client logs in to the domain controller. */
const logInOn = async (runtime, domain, headers) => {
  const { allKeys: keytab, kdc, password, realm, target, user, workgroup } = domain
  const proxy = await record(domain.port, { host: domain.address })
  const title = `the client on ${runtime.title} and the domain of Samba, headers signed ${headers}`
  await runTests(
    title,
    ours(
      runtime,
      "test/interop/security_client.ts",
      `ncacn_ip_tcp:127.0.0.1[${proxy.port}]`,
      ...[kdc, realm, workgroup, target, user, password, headers]
    )
  )
  look(title, proxy.conversations, ["bind", "alterContext", "auth3", "request"], [
    "bindAck",
    "alterContextResponse",
    "response"
  ], {
    // A server whose key has not opened the ticket says so.
    known: /^Bind not acknowledged$/,
    // Nor does tshark decrypt Kerberos without signed headers.
    keys: headers === "on" ? { keytab, password } : undefined
  })
  proxy.close()
}

const ntlmUser = ({ password, user, workgroup }) => ["--use-kerberos=off", "-U", `${workgroup}/${user}%${password}`]
const kerberosUser = ({ password, realm, user }) => ["--use-kerberos=required", "-U", `${user}@${realm}%${password}`]

const logins = [
  ["NTLM", ntlmUser, ["connect", "packet", "sign", "seal"].flatMap((level) => [level, `${level},ntlm`])],
  ["Kerberos", kerberosUser, ["connect", "packet", "sign", "seal"].flatMap((level) => [level, `${level},krb5`])]
]

const torture = (domain, port, options, user, ...tests) =>
  start("smbtorture", [
    `ncacn_ip_tcp:127.0.0.1[${port},target_hostname=localhost,${options}]`,
    "-s",
    domain.clientFile,
    ...user,
    ...tests
  ], domain.env)

/** Our client, Samba's and impacket's log in to our server. */
const serveUsersOn = async (runtime, clientRuntime, domain) => {
  const { allKeys, kdc, keytab, password, realm, user, workgroup } = domain
  const server = ours(runtime, "test/interop/security_server.ts", keytab, user, password, workgroup)
  const ports = ["connect", "integrity", "privacy", "later", "tomorrow"].map((title) => portOf(server, title))
  const [connect, integrity, privacy, later, tomorrow] = await Promise.all(ports)
  const on = `the server on ${runtime.title}`
  const keys = { keytab: allKeys, password }

  const own = await record(privacy)
  await runTests(
    `the client on ${clientRuntime.title} logs in to ${on}`,
    ours(
      clientRuntime,
      "test/interop/login_client.ts",
      ...[connect, integrity, own.port].map((port) => `ncacn_ip_tcp:127.0.0.1[${port}]`),
      ...[realm, kdc, workgroup, user, password]
    )
  )
  look(`the client on ${clientRuntime.title} and ${on}, encrypted`, own.conversations, ["bind", "request"], [
    "bindAck",
    "response"
  ], { keys })
  own.close()

  if (hasTorture) {
    const proxy = await record(connect)
    for (const [provider, userOf, all] of logins) {
      for (const options of all) {
        // The last one does them all, with one that sleeps.
        const tests = options === all.at(-1)
          ? ["rpc.echo"]
          : ["addone", "echodata", "sourcedata"].map((name) => `rpc.echo.echo.${name}`)
        const expected = tests.length === 1 ? 10 : tests.length
        const program = torture(domain, proxy.port, options, userOf(domain), ...tests)
        await program.ended
        const successes = program.lines.filter((line) => line.startsWith("success: echo.")).length
        test(
          `smbtorture rpc.echo with ${provider} [${options}] and ${on}`,
          successes === expected ? undefined : `${successes} of ${expected}: ${program.lines.slice(-4).join(" ")}`
        )
      }
    }
    look(`smbtorture with logins and ${on}`, proxy.conversations, ["bind", "alterContext", "auth3", "request"], [
      "bindAck",
      "alterContextResponse",
      "response"
    ], { keys })
    proxy.close()

    // Whoever says in a bind that the client signs no headers is found out: the first request repeats what the client said.
    const changed = await record(integrity, {
      change: (bytes, fromClient) => {
        if (fromClient && bytes[2] === types.bind) bytes[3] &= ~4
      }
    })
    const one = (port, level, user) => torture(domain, port, level, user, "rpc.echo.echo.addone")
    const [alice, aliceOfRealm] = [ntlmUser(domain), kerberosUser(domain)]
    const wrong = { ...domain, password: "wrong" }
    const denied = /NT_STATUS_(ACCESS_DENIED|LOGON_FAILURE)/
    // Samba has no other word for it.
    const failed = /NT_STATUS_UNSUCCESSFUL/
    for (
      const [title, problem, run] of [
        ["a wrong password", denied, () => one(connect, "sign", ntlmUser(wrong))],
        ["a wrong user", denied, () => one(connect, "sign", ntlmUser({ ...wrong, user: "mallory" }))],
        ["nobody", denied, () => one(connect, "connect", ["-U%"])],
        ["connect for integrity", denied, () => one(integrity, "connect", alice)],
        ["integrity for privacy", denied, () => one(privacy, "sign", aliceOfRealm)],
        ["a bind that was changed", denied, () => one(changed.port, "sign", alice)],
        ["a clock that is an hour behind", failed, () => one(later, "sign", aliceOfRealm)],
        ["a ticket that has ended", failed, () => one(tomorrow, "sign", aliceOfRealm)]
      ]
    ) {
      const program = run()
      await program.ended
      const refused = program.lines.some((line) => problem.test(line)) &&
        !program.lines.some((line) => line.startsWith("success: "))
      test(`smbtorture and ${on}: ${title} is refused`, refused ? undefined : program.lines.slice(-4).join(" "))
    }
    for (const words of ["the clocks differ", "the ticket has expired"]) {
      const said = server.lines.some((line) => line.includes("Refused a login of") && line.includes(words))
      test(`${on} says that ${words}`, said ? undefined : "it does not")
    }
    changed.close()
  }

  for (const [provider, userOf, all] of logins) {
    for (const options of all.filter((each) => !each.startsWith("packet"))) {
      // It asks the endpoint mapper for the port, and has no Kerberos for "localhost".
      const program = start("rpcclient", [
        ...[`ncacn_ip_tcp:127.1[${options}]`, "-s", domain.clientFile, ...userOf(domain)],
        ...["-c", "echoaddone 41; echodata 20000; sourcedata 20000; sinkdata 20000; echoaddone 42"]
      ], domain.env)
      const status = await program.ended
      const works = status === 0 && program.lines.includes("42 + 1 = 43")
      test(
        `rpcclient with ${provider} [${options}] and ${on}`,
        works ? undefined : `exit code ${status}: ${program.lines.slice(-3).join(" ")}`
      )
    }
  }

  const proxy = await record(privacy)
  await runTests(
    `impacket logs in to ${on}`,
    theirs(
      "impacket_security.py",
      "127.0.0.1",
      ...[connect, integrity, proxy.port].map(String),
      workgroup,
      user,
      password
    )
  )
  look(`impacket and ${on}, encrypted`, proxy.conversations, ["bind", "auth3", "request"], ["bindAck", "response"], {
    keys
  })
  proxy.close()

  server.kill()
  await server.ended
  for (const level of ["connect", "packet", "integrity", "privacy"]) {
    for (
      const caller of [
        `${workgroup}\\${user}, ${level}, NTLM, groups: users`,
        `${domain.realm}\\${user}, ${level}, Kerberos, groups: S-1-5-21-`
      ]
    ) {
      const known = server.lines.some((line) => line.startsWith(`called by ${caller}`))
      if (hasTorture || level !== "packet") {
        test(
          `${on} knows ${caller}`,
          known ? undefined : server.lines.filter((line) => line.startsWith("called")).join("; ")
        )
      }
    }
  }
}

/** Those that need named pipes, or netlogon beside, or fail with Samba too: there is one transfer syntax alone that both of us know. */
const beyondUs = new RegExp(
  "^test_(lsa_|assoc_group_(ok2|fail3)$|(first|last|none|2nd|mix|fragmented)_\\w*requests|spnego_change_(auth_type2|transfer)$)"
)

/** Samba's tests of the raw protocol, which hold for Windows too. */
const rawOn = async (runtime, domain) => {
  const { clientFile, env, keytab, password, realm, user, workgroup } = domain
  const address = "127.0.0.1"
  const server = ours(runtime, "test/interop/raw_server.ts", address, keytab, user, password, workgroup)
  await portOf(server)
  const tests = start(python, ["-m", "unittest", "samba.tests.dcerpc.raw_protocol"], {
    ...env,
    SMB_CONF_PATH: clientFile,
    SERVER: address,
    // As for rpcclient.
    TARGET_HOSTNAME: "127.1",
    DOMAIN: workgroup,
    REALM: realm,
    USERNAME: user,
    PASSWORD: password
  })
  await tests.ended
  const failures = tests.lines.flatMap((line) => {
    const [, name] = /^(?:FAIL|ERROR): (\w+) /.exec(line) ?? []
    return name === undefined || beyondUs.test(name) ? [] : [name]
  })
  const ran = tests.lines.some((line) => /^Ran \d{3} tests/.test(line))
  test(
    `Samba's tests of the raw protocol and the server on ${runtime.title}`,
    ran ? failures.join(", ") || undefined : tests.lines.slice(-3).join(" ")
  )
  server.kill()
  await server.ended
}

const securityOn = async (runtimes) => {
  domain = await startDomain(python)
  for (const [index, runtime] of runtimes.entries()) {
    await logInOn(runtime, domain, "on")
    await serveUsersOn(runtime, runtimes[(index + 1) % runtimes.length], domain)
    await rawOn(runtime, domain)
  }
  await domain.signNoHeaders()
  for (const runtime of runtimes) await logInOn(runtime, domain, "off")
}

// ----------------------------------------------------------------------------
// a silent link
// ----------------------------------------------------------------------------

// Longer than TCP keep-alive takes on Node: 30 s, and three probes 10 s apart.
const silence = 100_000

const waitFor = async (program, isLine) => {
  for (let waited = 0; waited < 60_000; waited += 20) {
    if (program.lines.some(isLine)) return
    await setTimeout(20)
  }
  throw new Error(`A program says nothing: ${program.lines.join(" ")}`)
}

/** Calls over a link that is down for a time. The server keeps nothing for a client that it can't reach. */
const silenceOn = async (runtime, clientRuntime, number) => {
  const title = `silent link, client on ${clientRuntime.title}, server on ${runtime.title}`
  const link = makeLink(number)
  if (link.problem !== undefined) return console.log(`skipped ${title}: no network namespaces here: ${link.problem}`)
  const run = (side, { command, program }, file, ...args) =>
    start(...link.on(side, command, [...program, file, ...args]))
  try {
    const server = run("server", runtime, "examples/rpcecho_server.ts", "--host", link.address, "--port", "0")
    const binding = `ncacn_ip_tcp:${link.address}[${await portOf(server)}]`
    const client = run("client", clientRuntime, "test/interop/silence_client.ts", binding)
    await waitFor(client, (line) => line === "bound")
    // The call that is pending then has reached the server.
    await setTimeout(1000)
    link.setUp(false)
    await setTimeout(silence)
    if (runtime.name === "node") {
      const noticed = server.lines.some((line) => line.startsWith("TestSleep("))
      test(`${title}: the server notices within ${silence / 1000} s`, noticed ? undefined : server.lines.join(" "))
    }
    link.setUp(true)
    await runTests(title, client)
    server.kill()
    await server.ended
  } finally {
    link.remove()
  }
}

const runtimes = []
for (const name of ["deno", "bun", "node"]) {
  const runtime = findRuntime(name)
  if (runtime === undefined) console.log(leftOut(name))
  else runtimes.push(runtime)
}

let domain
let samba

const everything = async () => {
  // The other tests run while the link is down.
  const silent = Promise.all(
    runtimes.map((runtime, index) => silenceOn(runtime, runtimes[(index + 1) % runtimes.length], index))
  )
  silent.catch(() => {})
  let conversation
  for (const [index, runtime] of runtimes.entries()) {
    conversation = await serverOn(runtime, runtimes[(index + 1) % runtimes.length])
    if (hasTorture) await tortureOn(runtime)
    await clientOn(runtime)
    await mapperOn(runtime)
  }
  await securityOn(runtimes)
  samba = await startSamba()
  for (const runtime of runtimes) await sambaOn(runtime, samba)
  await filesOn(runtimes[0], runtimes.at(-1))
  lookAtSpoiled(conversation)
  await silent
}

try {
  const tooLong = setTimeout(900_000, undefined, { ref: false }).then(() =>
    Promise.reject(new Error("It takes too long."))
  )
  await Promise.race([everything(), tooLong])
} catch (error) {
  test("interoperability", error.stack)
} finally {
  for (const child of running) child.kill("SIGKILL")
  await samba?.stop()
  await domain?.stop()
}
console.log(`${passed} passed, ${failed} failed`)
process.exit(failed > 0 || passed === 0 ? 1 : 0)
