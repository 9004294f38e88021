import { bed } from "./bed.ts"
import { transactionFaults } from "./transactionFaults.ts"
import { sqlite } from "./worlds.ts"

bed("transactions", sqlite, transactionFaults)
