// Runs a domain controller of Samba on a loopback address of its own: the endpoint mapper, the services of a domain over TCP, and a key
// distribution centre. All that it writes is in a temporary folder.
import { execFile, spawn } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { setTimeout } from "node:timers/promises"

const needed = [
  ["/usr/sbin/samba", "samba"],
  ["/usr/bin/rpcclient", "smbclient"],
  ["/usr/share/samba/setup/ad-schema", "samba-ad-provision"],
  ["/usr/lib/x86_64-linux-gnu/samba/ldb/samldb.so", "samba-dsdb-modules"],
  ["/usr/lib/x86_64-linux-gnu/samba/vfs/acl_xattr.so", "samba-vfs-modules"]
]

/** The Debian packages that a domain needs and that are not installed. */
export const lacking = needed.filter(([file]) => ![file, file.replace("x86_64", "aarch64")].some(existsSync)).map((
  [, name]
) => name)

const realm = "CALLISTO.TEST"
const workgroup = "CALLISTO"
/** The names of the service whose keytab is exported. They need no DNS, and rpcclient takes no other form of the second one. */
const services = ["host/localhost", "host/127.1"]
/** The first account is that of the service. */
const accounts = ["service:Sealed-Letters-1", "alice:Wonder-Land-2"]
const [user, password] = accounts[1].split(":")

const paths = (folder) =>
  `  private dir = ${folder}/private
  lock directory = ${folder}
  state directory = ${folder}/state
  cache directory = ${folder}/cache
  binddns dir = ${folder}/bind-dns
  pid directory = ${folder}
  ncalrpc dir = ${folder}/ncalrpc
  ntp signd socket directory = ${folder}/ntp
  winbindd socket directory = ${folder}/winbindd
  log file = ${folder}/log
  panic action =
`

const names = `[global]
  workgroup = ${workgroup}
  realm = ${realm}
`

// The accounts service gets the first dynamic port: the fixed one is for what has to be in a process of its own.
const port = 49252

const configuration = (folder, address) =>
  `${names}  server role = active directory domain controller
  netbios name = DC
  server services = rpc, kdc
  interfaces = ${address}/8
  bind interfaces only = yes
  rpc server port = ${port}
  rpc server dynamic port range = ${port}-${port + 99}
${paths(folder)}`

/** What Samba's clients read in place of the configuration of the machine. */
const clientConfiguration = (folder) =>
  `${names}  name resolve order = host
${paths(join(folder, "client"))}`

const kerberosConfiguration = (folder, address) =>
  `[libdefaults]
  default_realm = ${realm}
  dns_lookup_realm = false
  dns_lookup_kdc = false
  rdns = false
  default_ccache_name = FILE:${folder}/tickets
[realms]
  ${realm} = {
    kdc = ${address}
  }
`

const isFree = (address, port) =>
  new Promise((resolve) => {
    const server = net.createServer().on("error", () => resolve(false))
    server.listen(port, address, () => server.close(() => resolve(true)))
  })

/** An address on which nobody has the ports of a domain controller. */
const findAddress = async () => {
  for (let last = 41; last < 60; last++) {
    const address = `127.0.0.${last}`
    const free = await Promise.all([88, 135, port, port + 1].map((port) => isFree(address, port)))
    if (!free.includes(false)) return address
  }
  throw new Error("Port 88 or 135 is taken on each of 127.0.0.41 to 127.0.0.59.")
}

const run = (env, command, ...args) =>
  new Promise((resolve, reject) => {
    execFile(command, args, { env }, (error, stdout, stderr) => {
      if (error === null) return resolve()
      reject(new Error(`${command}: ${(stdout + stderr).trim().split("\n").slice(-3).join(" ") || error.message}`))
    })
  })

/** Runs the daemon until `stop`. */
const serve = async (address, file, env, settings) => {
  const child = spawn("/usr/sbin/samba", ["-i", "-M", "single", "--debug-stdout", "-s", file, ...settings], {
    // Its helpers are in its process group, and end with it.
    detached: true,
    env,
    stdio: ["pipe", "pipe", "pipe"]
  })
  let said = ""
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => said += text)
  const ended = new Promise((resolve) => child.on("exit", resolve).on("error", resolve))
  const signal = (name) => {
    try {
      process.kill(-child.pid, name)
    } catch {
      // It has ended.
    }
  }
  const stop = async () => {
    signal("SIGTERM")
    await Promise.race([ended, setTimeout(5000, undefined, { ref: false })])
    signal("SIGKILL")
    await ended
  }
  for (let waited = 0; (await Promise.all([88, 135].map((port) => isFree(address, port)))).includes(true);) {
    if (waited > 60_000 || child.exitCode !== null) {
      await stop()
      throw new Error(`The domain controller does not start: ${said.trim().split("\n").slice(-3).join(" ")}`)
    }
    await setTimeout(100)
    waited += 100
  }
  return stop
}

/** Starts the domain controller. It needs root, for its ports, and Python with the modules of Samba. */
export const startDomain = async (python) => {
  const folder = mkdtempSync(join(tmpdir(), "callisto-domain-"))
  const inFolder = (name, text) => {
    const file = join(folder, name)
    if (text !== undefined) writeFileSync(file, text)
    return file
  }
  let stopDaemon = () => Promise.resolve()
  const stop = async () => {
    await stopDaemon()
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    const address = await findAddress()
    const tickets = inFolder("tickets")
    const env = {
      ...process.env,
      KRB5_CONFIG: inFolder("krb5.conf", kerberosConfiguration(folder, address)),
      KRB5CCNAME: `FILE:${tickets}`
    }
    await run(
      env,
      ...["samba-tool", "domain", "provision", "--dns-backend=NONE", `--targetdir=${folder}`, `--realm=${realm}`],
      ...[`--domain=${workgroup}`, "--server-role=dc", "--host-name=dc", `--host-ip=${address}`],
      "--adminpass=Only-For-Tests-3"
    )
    for (
      const name of ["ncalrpc", "ntp", "winbindd", "cache", "client", "client/private", "client/state", "client/cache"]
    ) {
      mkdirSync(join(folder, name), { recursive: true })
    }
    const file = inFolder("etc/smb.conf", configuration(folder, address))
    const clientFile = inFolder("client.conf", clientConfiguration(folder))
    const script = (name, ...args) => run(env, python, join("test", "interop", name), ...args)
    const [keytab, allKeys] = [inFolder("service.keytab"), inFolder("all.keytab")]
    await script("domain.py", file, keytab, allKeys, services.join(), ...accounts)
    const start = async (...settings) => {
      stopDaemon = await serve(address, file, env, settings)
    }
    await start()
    await script("tickets.py", clientFile, realm, user, password, tickets)
    return {
      address,
      /** The port of the accounts service. */
      port: port + 1,
      kdc: `ncacn_ip_tcp:${address}[88]`,
      /** The name of the controller's own services. */
      target: "host/dc.callisto.test",
      ...{ allKeys, clientFile, env, keytab, password, realm, user, workgroup },
      /** Starts the daemon again, so that it signs no headers. */
      async signNoHeaders() {
        await stopDaemon()
        await start("--option=dcesrv:header signing=no")
      },
      stop
    }
  } catch (error) {
    await stop()
    throw error
  }
}
