/**
 * Asks an endpoint mapper where an interface is served. Clients load it whose string binding does not say so.
 */
import * as Effect from "effect/Effect"
import type * as Binding from "../../Binding.ts"
import type { Interface } from "../../Interface.ts"
import { IEndpointMapper, map } from "../EndpointMapper.ts"

/** `bind` binds to the endpoint mapper. */
export const lookUp = <E, R>(
  bind: (iface: typeof IEndpointMapper) => Effect.Effect<Binding.Binding<typeof IEndpointMapper>, E, R>,
  iface: Interface.Any,
  options: Parameters<typeof map>[2]
): Effect.Effect<Effect.Success<ReturnType<typeof map>>, E | Effect.Error<ReturnType<typeof map>>, R> =>
  Effect.flatMap(bind(IEndpointMapper), (mapper) => map(mapper, iface, options))
