// Runs a domain controller of Samba on a loopback address of its own: the endpoint mapper, the services of a domain over TCP, and a key
// distribution centre. All that it writes is in a temporary folder.
import { spawn, spawnSync } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { setTimeout } from "node:timers/promises"

const program = "/usr/sbin/samba"
const schema = "/usr/share/samba/setup/ad-schema"
const modules = "/usr/lib/x86_64-linux-gnu/samba/ldb/samldb.so"

/** The Debian packages that a domain controller needs and that are not installed. */
export const lacking = [
  [program, "samba"],
  ["/usr/bin/rpcclient", "smbclient"],
  [schema, "samba-ad-provision"],
  [modules, "samba-dsdb-modules"]
].filter(([file]) => !existsSync(file)).map(([, name]) => name)

export const realm = "CALLISTO.TEST"
export const workgroup = "CALLISTO"
/** The service whose keytab is exported. Its name needs no DNS. */
export const target = "host/localhost"
/** Passwords by user. The first one is the account of the service. */
export const passwords = { service: "Sealed-Letters-1", alice: "Wonder-Land-2" }

const configuration = (folder, address) =>
  `[global]
  server role = active directory domain controller
  workgroup = ${workgroup}
  realm = ${realm}
  netbios name = DC
  server services = rpc, kdc
  interfaces = ${address}/8
  bind interfaces only = yes
  rpc server port = 49252
  rpc server dynamic port range = 49252-49351
  private dir = ${folder}/private
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

const kerberos = (folder, address) =>
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
[domain_realm]
  localhost = ${realm}
`

const isFree = (address, port) =>
  new Promise((resolve) => {
    const server = net.createServer().on("error", () => resolve(false))
    server.listen(port, address, () => server.close(() => resolve(true)))
  })

/** An address on which nobody has the ports that a domain controller must have. */
const findAddress = async () => {
  for (let last = 41; last < 60; last++) {
    const address = `127.0.0.${last}`
    if (await isFree(address, 88) && await isFree(address, 135)) return address
  }
  throw new Error("Ports 88 and 135 are taken on 127.0.0.41 to 127.0.0.59.")
}

const run = (command, ...args) => {
  const { error, status, stderr, stdout } = spawnSync(command, args, { encoding: "utf8" })
  if (status === 0) return
  throw new Error(`${command}: ${error?.message ?? (stdout + stderr).trim().split("\n").slice(-3).join(" ")}`)
}

/** Starts the domain controller. It needs root, for its ports. */
export const startDomain = async (python) => {
  const folder = mkdtempSync(join(tmpdir(), "callisto-domain-"))
  const remove = () => rmSync(folder, { recursive: true, force: true })
  try {
    const address = await findAddress()
    run(
      ...["samba-tool", "domain", "provision", "--dns-backend=NONE", `--targetdir=${folder}`, `--realm=${realm}`],
      ...[`--domain=${workgroup}`, "--server-role=dc", "--host-name=dc", `--host-ip=${address}`],
      "--adminpass=Only-For-Tests-3"
    )
    const file = join(folder, "etc", "smb.conf")
    writeFileSync(file, configuration(folder, address))
    const krb5 = join(folder, "krb5.conf")
    writeFileSync(krb5, kerberos(folder, address))
    // What Samba's clients read in place of the configuration of the machine.
    const clients = join(folder, "client.conf")
    writeFileSync(
      clients,
      configuration(folder, address).replace(/server role.*|.*services.*/, "").replace(
        "role = active directory domain controller",
        "role = standalone"
      )
    )
    const keytab = join(folder, "service.keytab")
    run(
      ...[python, join("test", "interop", "domain.py"), file, target, keytab],
      ...Object.entries(passwords).map((account) => account.join(":"))
    )
    for (const name of ["ncalrpc", "ntp", "winbindd", "cache"]) mkdirSync(join(folder, name), { recursive: true })

    const env = { ...process.env, KRB5_CONFIG: krb5, KRB5CCNAME: `FILE:${folder}/tickets` }
    const child = spawn(program, ["-i", "-M", "single", "-s", file, "--debug-stdout"], {
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
      remove()
    }
    for (let waited = 0; await isFree(address, 88) || await isFree(address, 135); waited += 100) {
      if (waited < 30_000 && child.exitCode === null) {
        await setTimeout(100)
        continue
      }
      await stop()
      throw new Error(`The domain controller does not start: ${said.trim().split("\n").slice(-3).join(" ")}`)
    }
    return { address, folder, env, keytab, stop }
  } catch (error) {
    remove()
    throw error
  }
}
