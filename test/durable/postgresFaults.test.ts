import { bed } from "./bed.ts"
import { transactionFaults } from "./transactionFaults.ts"
import { postgres } from "./worlds.ts"

bed("transactions", postgres, transactionFaults)
