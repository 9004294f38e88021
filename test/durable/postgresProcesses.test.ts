import { processes } from "./processes.ts"
import { postgres } from "./worlds.ts"

processes(postgres)
