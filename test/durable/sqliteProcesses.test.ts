import { processes } from "./processes.ts"
import { sqlite } from "./worlds.ts"

processes(sqlite)
