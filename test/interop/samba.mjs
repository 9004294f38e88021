// Runs the endpoint mapper of Samba on a loopback address, with the other services that Samba has on endpoints of their own. All that it
// writes is in a temporary folder, except empty files of its helpers in the log folder of the package.
import { spawn } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { setTimeout } from "node:timers/promises"

const program = ["/usr/libexec/samba/samba-dcerpcd", "/usr/lib/x86_64-linux-gnu/samba/samba-dcerpcd"].find(existsSync)

/** Whether the Debian package is installed. */
export const isInstalled = program !== undefined

// Debian's paths, which would be outside of the folder otherwise, and what is needed to be served without smbd.
const configuration = (folder) =>
  `[global]
  server role = standalone
  workgroup = CALLISTO
  netbios name = SERVER
  rpc start on demand helpers = no
  rpc server dynamic port range = 49152-49251
  interfaces = 127.0.0.1/8
  bind interfaces only = yes
  load printers = no
  disable spoolss = yes
  usershare path =
  passdb backend = tdbsam:${folder}/private/passdb.tdb
  private dir = ${folder}/private
  lock directory = ${folder}/lock
  state directory = ${folder}/state
  cache directory = ${folder}/cache
  pid directory = ${folder}/pid
  ncalrpc dir = ${folder}/ncalrpc
  binddns dir = ${folder}/binddns
  log file = ${folder}/log/log
`

/** Starts Samba. It needs root: the endpoint mapper has port 135, and no other. */
export const startSamba = async () => {
  const folder = mkdtempSync(join(tmpdir(), "callisto-samba-"))
  for (const name of ["private", "lock", "state", "cache", "pid", "ncalrpc", "binddns", "log"]) {
    mkdirSync(join(folder, name))
  }
  const file = join(folder, "smb.conf")
  writeFileSync(file, configuration(folder))

  const child = spawn(
    program,
    [
      "--foreground",
      "--no-process-group",
      "--ready-signal-fd=3",
      "-l",
      join(folder, "log"),
      "-s",
      file,
      "--libexec-rpcds"
    ],
    // Its services are in its process group, and end with it.
    { stdio: ["ignore", "pipe", "pipe", "pipe"], detached: true }
  )
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
    await ended
    signal("SIGKILL")
    rmSync(folder, { recursive: true, force: true })
  }
  const ready = new Promise((resolve) => child.stdio[3].resume().on("end", () => resolve(true)))
  const tooLate = setTimeout(30_000, false, { ref: false })
  const isReady = await Promise.race([ready, ended.then(() => false), tooLate])
  if (!isReady || child.exitCode !== null) {
    await stop()
    throw new Error(`Samba does not start: ${said.trim().split("\n").slice(-3).join(" ")}`)
  }
  const socket = (name) => join(folder, "ncalrpc", name)
  return {
    socket: socket("EPMAPPER"),
    // Where the service control manager is, among others.
    services: `ncalrpc:[${socket("rpcd_classic")}]`,
    stop
  }
}
