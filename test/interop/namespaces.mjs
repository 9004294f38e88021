// Two network namespaces of Linux with a link between them, which can go down. Needs iproute2 and root.
import { spawnSync } from "node:child_process"
import process from "node:process"

const ip = (...args) => spawnSync("ip", args, { encoding: "utf8" })

/** Makes the namespaces. Gives `undefined` and says why where that is not allowed. */
export const makeLink = (number) => {
  const names = ["server", "client"].map((side) => `callisto-${process.pid}-${number}-${side}`)
  const [server, client] = names
  const address = `10.77.${number}.1`
  const remove = () => names.forEach((name) => ip("netns", "delete", name))
  const steps = [
    ...names.map((name) => ["netns", "add", name]),
    ...names.map((name) => ["-n", name, "link", "set", "lo", "up"]),
    ["-n", server, "link", "add", "link0", "type", "veth", "peer", "name", "link0", "netns", client],
    ["-n", server, "address", "add", `${address}/24`, "dev", "link0"],
    ["-n", client, "address", "add", `10.77.${number}.2/24`, "dev", "link0"],
    ...names.map((name) => ["-n", name, "link", "set", "link0", "up"]),
    // A namespace may be made and yet not be entered.
    ["netns", "exec", server, "true"]
  ]
  for (const step of steps) {
    const { error, status, stderr } = ip(...step)
    if (status === 0) continue
    remove()
    return { problem: `ip ${step.join(" ")}: ${(error?.message ?? stderr).trim()}` }
  }
  return {
    address,
    /** The command line that runs a program on one side. */
    on: (side, command, args) => ["ip", ["netns", "exec", side === "server" ? server : client, command, ...args]],
    setUp: (isUp) => ip("-n", server, "link", "set", "link0", isUp ? "up" : "down"),
    remove
  }
}
