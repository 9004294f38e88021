import { bed } from "./bed.ts"
import { asking, handOffFaults } from "./handOffFaults.ts"
import { rowFaults } from "./rowFaults.ts"
import { transactionFaults } from "./transactionFaults.ts"
import { postgres } from "./worlds.ts"

bed("faults", postgres, (bed) => {
  rowFaults(bed)
  transactionFaults(bed)
  handOffFaults(bed)
}, [asking])
