/**
 * What the engine delivers: one entity a call.
 */
import * as ClusterSchema from "effect/cluster/ClusterSchema"
import * as Entity from "effect/cluster/Entity"
import * as EntityAddress from "effect/cluster/EntityAddress"
import * as EntityId from "effect/cluster/EntityId"
import * as EntityType from "effect/cluster/EntityType"
import * as Envelope from "effect/cluster/Envelope"
import * as Message from "effect/cluster/Message"
import type { ShardId } from "effect/cluster/ShardId"
import type * as Sharding from "effect/cluster/Sharding"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Headers from "effect/http/Headers"
import * as Option from "effect/Option"
import * as Rpc from "effect/rpc/Rpc"
import type * as Schema from "effect/Schema"

/** Runs the call. It is stored, and delivered until it is answered. */
type Dispatch = Rpc.Rpc<"Dispatch", Schema.Struct<{}>>
type Wait = Rpc.Rpc<"Wait">
type Wake = Rpc.Rpc<"Wake">

const Dispatch: Dispatch = Rpc.make("Dispatch", { payload: {}, primaryKey: () => "" })
  .annotate(ClusterSchema.Persisted, true)
  .annotate(ClusterSchema.Uninterruptible, "client")

/** Is answered when the call has ended, or after a while. */
const Wait: Wait = Rpc.make("Wait")

/** Says that something has changed in the record. */
const Wake: Wake = Rpc.make("Wake")

/** One entity a call; its identifier is the handle. */
export const CallEntity: Entity.Entity<"Callisto/Calls", Dispatch | Wait | Wake> = Entity.make("Callisto/Calls", [
  Dispatch,
  Wait,
  Wake
])
  .annotate(ClusterSchema.ClientTracingEnabled, false)

const group = "default"

export const shardOf = (sharding: Sharding.Sharding["Service"], id: string): ShardId =>
  sharding.getShardId(EntityId.make(id), group)

export const addressOf = (sharding: Sharding.Sharding["Service"], id: string): EntityAddress.EntityAddress =>
  EntityAddress.make({
    shardId: shardOf(sharding, id),
    entityType: EntityType.make(CallEntity.type),
    entityId: EntityId.make(id)
  })

/** The stored request that runs a call. */
export const dispatchOf = (
  sharding: Sharding.Sharding["Service"],
  id: string
): Effect.Effect<Message.OutgoingRequest<Dispatch>> =>
  Effect.map(sharding.getSnowflake, (requestId) =>
    new Message.OutgoingRequest({
      envelope: Envelope.makeRequest<Dispatch>({
        requestId,
        address: addressOf(sharding, id),
        tag: "Dispatch",
        payload: Dispatch.payloadSchema.make({}) as never,
        headers: Headers.empty
      }),
      context: Context.empty(),
      lastReceivedReply: Option.none(),
      rpc: Dispatch,
      respond: () => Effect.void,
      annotations: Dispatch.annotations
    }))
