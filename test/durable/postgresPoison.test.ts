import { poison } from "./poison.ts"
import { postgres } from "./worlds.ts"

poison(postgres)
