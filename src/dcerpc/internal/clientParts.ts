/**
 * The parts that only some clients need, loaded on demand: the client of endpoint mappers, logins, and pipes. They are one part, since with
 * each part more of what parts share becomes a file of its own.
 */
import * as Effect from "effect/Effect"
import type * as Binding from "../../Binding.ts"
import type { Interface } from "../../Interface.ts"
import { IEndpointMapper, map } from "../EndpointMapper.ts"

export { pipes } from "./clientPipes.ts"
export { securing } from "./clientSecurity.ts"

/** Asks an endpoint mapper where an interface is served. `bind` binds to the mapper. */
export const lookUp = <E, R>(
  bind: (iface: typeof IEndpointMapper) => Effect.Effect<Binding.Binding<typeof IEndpointMapper>, E, R>,
  iface: Interface.Any,
  options: Parameters<typeof map>[2]
): Effect.Effect<Effect.Success<ReturnType<typeof map>>, E | Effect.Error<ReturnType<typeof map>>, R> =>
  Effect.flatMap(bind(IEndpointMapper), (mapper) => map(mapper, iface, options))
