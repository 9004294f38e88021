// Runs services of Samba on 127.0.0.1 until it is interrupted, for the examples of docs/idl.md: `npm run samba`. It needs Debian's package
// samba, and root, because the endpoint mapper has port 135. All that it writes is in a temporary folder.
import process from "node:process"
import { isInstalled, startSamba } from "../test/interop/samba.mjs"

if (!isInstalled) {
  console.error("There is no Samba here: apt-get install samba")
  process.exit(1)
}

const samba = await startSamba()
console.log(`Samba serves until Ctrl-C. Its shares and its services:
  bun examples/list_shares.ts "ncacn_ip_tcp:127.0.0.1"
  bun examples/list_services.ts "${samba.services}"
It takes callisto call too:
  callisto call "${samba.services}" examples/svcctl.idl ROpenSCManagerW '{"dwDesiredAccess": 5}'`)

const alive = setInterval(() => {}, 1 << 30)
for (const name of ["SIGINT", "SIGTERM"]) {
  process.once(name, async () => {
    await samba.stop()
    clearInterval(alive)
  })
}
