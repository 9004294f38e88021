import { semantics } from "./semantics.ts"
import { postgres } from "./worlds.ts"

semantics(postgres)
