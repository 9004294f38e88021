import { semantics } from "./semantics.ts"
import { sqlite } from "./worlds.ts"

semantics(sqlite)
